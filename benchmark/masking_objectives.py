r"""What masking.py compares: objectives, their contexts, and their training."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from torch_geometric_rfm.data import CellData, CellStore, ColumnSample
from torch_geometric_rfm.data.candidates import Candidates
from torch_geometric_rfm.data.cell_data import UNDATED
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalMAE, RelationalTransformer
from torch_geometric_rfm.sampler import ContextSampler
from torch_geometric_rfm.train.schedule import Budget, warmup_cosine
from torch_geometric_rfm.transforms import MaskCells
from torch_geometric_rfm.transforms.masking import MaskStrategy
from torch_geometric_rfm.transforms.masking.random_draws import CELL, uniform

LR = 1.5e-3


class SeedCellStrategy(MaskStrategy):
    r"""One cell of the seed row, any with the same probability: the value of a
    column is completed from the rest of its row and the rows around it.
    """

    name = 'seed_cell'

    def cells(self, view: Any) -> Tensor:
        contexts = torch.arange(view.rate.numel(), device=view.row.device)
        first = torch.searchsorted(view.context, contexts)
        of_seed = view.row == first[view.cell_context]
        draw = uniform(view.cell_key, CELL)
        draw = draw.masked_fill(~(view.eligible & of_seed), 2.0)
        least = torch.full_like(view.rate, 2.0)
        least = least.scatter_reduce(0, view.cell_context, draw, 'amin')
        return (draw == least[view.cell_context]) & (draw < 2.0)


OBJECTIVES: dict[str, dict[str, Any] | None] = {
    'none': None,
    'target': {'strategy': 'seed_cell'},
    'uniform': {'strategy': 'uniform'},
    'column': {'strategy': 'column'},
    'row': {'strategy': 'row'},
    '80-10-10': {'strategy': 'uniform', 'corruption': (0.8, 0.1, 0.1)},
    'mae': {'strategy': 'uniform', 'rate': (0.5, 0.75)},
    'mae-decoder': {'strategy': 'uniform', 'rate': (0.5, 0.75)},
}
r"""Arguments of MaskCells. Both kinds of MAE are one pretraining: the first fine-tunes
the encoder alone, the second the decoder, too.
"""


def pretraining_of(objective: str) -> str:
    r"""The objective whose pretraining this one shares."""
    return 'mae' if objective == 'mae-decoder' else objective


def make_model(objective: str, seed: int, settings: dict[str, Any]) -> torch.nn.Module:
    r"""The model of an objective with its first weights."""
    torch.manual_seed(seed)
    encoder = RelationalTransformer.small(**settings)
    return RelationalMAE(encoder) if objective.startswith('mae') else encoder


def to_fine_tune(objective: str, model: torch.nn.Module) -> torch.nn.Module:
    r"""The part of a pretrained model that is fine-tuned."""
    return model.encoder if objective == 'mae' else model  # type: ignore[return-value]


class DatabaseContexts:
    r"""Endless batches of contexts around the rows of a database, each seen from its
    own time: those of dated tables up to the cutoff, tables in proportion to the
    square root of their rows.

    Args:
        store: The database.
        cutoff: Unix seconds up to which rows are seeds.
        batch_size: Contexts of a batch.
        num_cells: Cells of a context at most.
        transform: What hides cells.
        seed: Determines the batches.
    """

    def __init__(
        self,
        store: CellStore,
        cutoff: int,
        batch_size: int,
        num_cells: int,
        transform: MaskCells,
        seed: int,
    ) -> None:
        row_time = store.arrays.row_time
        start = store.arrays.table_start
        self.tables = []
        for first, last in zip(start[:-1], start[1:]):
            time = row_time[first:last]
            known = np.flatnonzero((time != UNDATED) & (time <= cutoff))
            if known.size > 0:
                self.tables.append(known + first)
        if not self.tables:
            raise ValueError('no table of the database has dated rows up to the cutoff')
        weight = np.sqrt([len(rows) for rows in self.tables])
        self.shares = weight / weight.sum()
        self.row_time = row_time
        self.sampler = ContextSampler(store, num_cells=num_cells, seed=seed)
        self.column_sample = ColumnSample(store, seed=seed)
        self.candidates = Candidates(store, seed=seed)
        self.batch_size, self.transform, self.seed = batch_size, transform, seed

    def __iter__(self) -> Iterator[CellData]:
        step = 0
        while True:
            rng = np.random.default_rng((self.seed, step))
            table = rng.choice(len(self.tables), self.batch_size, p=self.shares)
            rows = np.array([rng.choice(self.tables[t]) for t in table])
            time = self.row_time[rows]
            number = np.arange(self.batch_size) + step * self.batch_size
            cells, strings = self.sampler.sample_indices(rows, time, time, number)
            cells = self.sampler.attach(cells, strings)
            cells.column_sample = self.column_sample
            yield self.candidates.attach(self.transform(cells), strings)
            step += 1


def contexts_of(
    objective: str, store: CellStore, cutoff: int, args: Any, seed: int
) -> DatabaseContexts:
    r"""The batches of an objective. All have the same contexts."""
    options = OBJECTIVES[objective]
    assert options is not None
    transform = MaskCells(**options, seed=seed)
    return DatabaseContexts(
        store, cutoff, args.batch_size, args.num_cells, transform, seed
    )


def flops_of_step(model: torch.nn.Module, batches: DatabaseContexts) -> float:
    r"""Floating point operations of a step, the mean of eight."""
    count = 8
    counter = FlopCounterMode(display=False)
    with counter:
        for _, cells in zip(range(count), batches):
            loss = MaskedCellLoss()(model(cells, all_heads=True), cells)
            loss.backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() / count


def pretrain(
    model: torch.nn.Module,
    batches: DatabaseContexts,
    num_steps: int | None,
    minutes: float | None,
) -> dict[str, float]:
    r"""Trains a model in place; returns what it came to."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{'params': decayed}, {'params': others, 'weight_decay': 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), weight_decay=0.1)
    loss_fn = MaskedCellLoss(huber_delta=0.25)
    stream = iter(batches)
    next(stream)  # Compiles the sampler, before the clock starts.
    budget, losses, skipped = Budget(num_steps, minutes), [], 0
    while budget.progress < 1:
        for group in optimizer.param_groups:
            group['lr'] = LR * warmup_cosine(budget.progress)
        cells = next(stream)
        loss = loss_fn(model(cells, all_heads=True), cells)
        skipped += loss_fn.last_skipped
        if not loss.isfinite():
            raise ValueError(f'the loss is not finite (got {float(loss)})')
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        budget.step += 1
    seconds = time.monotonic() - budget.start
    part = max(1, len(losses) // 10)
    return {
        'steps': budget.step,
        'contexts': budget.step * batches.batch_size,
        'seconds': round(seconds, 2),
        'contexts_per_second': round(budget.step * batches.batch_size / seconds, 1),
        'skipped_contexts': skipped,
        'first_loss': float(np.mean(losses[:part])),
        'last_loss': float(np.mean(losses[-part:])),
    }
