from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.transforms import Compose

from torch_geometric_rfm.data.cell_data import CellData, concatenate
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train.evaluation import draw_rows, main_score, score_rows
from torch_geometric_rfm.train.objective import LabelAndCellLoss
from torch_geometric_rfm.train.optimizer import make_fabric, make_optimizer
from torch_geometric_rfm.train.report import MetricsLog
from torch_geometric_rfm.train.train_config import TrainConfig
from torch_geometric_rfm.train.training_loop import FitResult, run_training
from torch_geometric_rfm.transforms import DropCells, MaskCells


def shares(sizes: list[int], batch_size: int, temperature: float) -> list[int]:
    r"""Contexts of each task in a batch, in proportion to
    :math:`\textrm{rows}^{1 / \textrm{temperature}}`, at least one each.

    Example:
        >>> shares([100, 10_000], batch_size=11, temperature=2.0)
        [1, 10]
    """
    weight = np.array(sizes, dtype=np.float64) ** (1 / temperature)
    return (
        np.maximum(1, np.rint(batch_size * weight / weight.sum())).astype(int).tolist()
    )


def joint_batches(loaders: list[Any]) -> Iterator[CellData]:
    r"""Endless batches, each of a batch of every loader."""
    yield from map(concatenate, map(list, zip(*map(_endless, loaders))))


def _endless(loader: Any) -> Iterator[CellData]:
    while True:
        yield from loader


def fit(
    model: RelationalTransformer,
    tasks: list[TaskStore],
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    save: Callable[[RelationalTransformer], None] | None = None,
    show_progress: bool = True,
    **sampling: Any,
) -> FitResult:
    r"""Trains a model on one or several tasks of a database.

    The model ends with the weights that scored best on val. Ctrl-C ends the
    training early and keeps the best weights until then.

    Args:
        model (RelationalTransformer): The model, trained in place.
        tasks (list[TaskStore]): Tasks to be trained jointly.
        config (TrainConfig, optional): How to train. (default: :obj:`None`)
        out (str, optional): Folder for :obj:`metrics.csv`, and :obj:`columns.csv`
            with the mean train loss of each column.
            (default: :obj:`None`)
        save (callable, optional): Called with the model whenever it has become
            better on val, and at the end. (default: :obj:`None`)
        show_progress (bool): Whether to draw a progress bar.
            (default: :obj:`True`)
        **sampling: Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Raises:
        ImportError: If Lightning Fabric is not installed.
        ValueError: If a split lacks the labels that it needs, or the loss is
            not finite.
    """
    config = config or TrainConfig()
    fabric = make_fabric(config.accelerator, config.precision)
    for store in tasks:
        store.task.labels_of_split('val')
    torch.manual_seed(config.seed)
    val_rows = [draw_rows(s, 'val', config.max_val_rows, config.seed) for s in tasks]

    # Model and optimizer:
    optimizer = make_optimizer(model, config.lr, config.weight_decay)
    network, optimizer = fabric.setup(model, optimizer)
    label_loss = MaskedCellLoss(config.huber_delta)
    cell_loss = MaskedCellLoss(config.huber_delta, reduction='context')
    loss_fn = LabelAndCellLoss(label_loss, cell_loss, config.mask_weight)

    # Batches:
    transforms: list[Any] = []
    if config.drop_rate:
        transforms.append(DropCells.up_to(config.drop_rate, config.seed))
    if config.mask_weight:
        transforms.append(MaskCells('uniform', config.mask_rate, config.seed))
    sizes = [len(store.rows_of_split('train')) for store in tasks]
    loaders = [
        ContextLoader(
            store,
            input_nodes='train',
            batch_size=share,
            shuffle=True,
            seed=config.seed,
            num_workers=config.num_workers,
            transform=Compose(transforms) if transforms else None,
            **sampling,
        )
        for store, share in zip(
            tasks, shares(sizes, config.batch_size, config.temperature), strict=True
        )
    ]
    batches = joint_batches(loaders)
    # The first batch compiles the sampler, before the clock starts.
    batches = chain([next(batches)], batches)

    log = MetricsLog(out)

    def step() -> tuple[torch.Tensor, int]:
        cells = next(batches).to(fabric.device)
        loss = loss_fn(network(cells, all_heads=True), cells)
        log.count(label_loss)
        if config.mask_weight:
            log.count(cell_loss, 'masked_')
        return loss, cells.num_contexts

    return run_training(
        model,
        network,
        optimizer,
        fabric,
        config,
        step,
        lambda: _evaluate(network, tasks, val_rows, config, sampling),
        log,
        [store.task.name for store in tasks],
        save,
        show_progress,
        eval_start=config.eval_start,
    )


def _evaluate(
    network: torch.nn.Module,
    tasks: list[TaskStore],
    val_rows: list[np.ndarray],
    config: TrainConfig,
    sampling: dict[str, Any],
) -> tuple[dict[str, dict[str, float]], float]:
    metrics = {
        store.task.name: score_rows(network, store, rows, config.protocol, **sampling)
        for store, rows in zip(tasks, val_rows, strict=True)
    }
    return metrics, float(np.mean([main_score(m) for m in metrics.values()]))
