from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
from torch_geometric_rfm.train.averaging import average_weights, clone_state
from torch_geometric_rfm.train.evaluation import draw_rows, main_score, score_rows
from torch_geometric_rfm.train.objective import LabelAndCellLoss
from torch_geometric_rfm.train.optimizer import make_fabric, make_optimizer, set_lr
from torch_geometric_rfm.train.report import MetricsLog, training_bar
from torch_geometric_rfm.train.schedule import Budget, warmup_cosine
from torch_geometric_rfm.transforms import DropCells, MaskCells


@dataclass
class TrainConfig:
    r"""How to train.

    Args:
        minutes (float, optional): Wall-clock minutes, evaluations included.
        num_steps (int, optional): Optimizer steps.
        batch_size (int): Contexts of a step.
        temperature (float): How evenly the tasks of a joint training share a
            batch: 1 is in proportion to their rows, above is more even.
        lr (float): Peak learning rate of AdamW.
        weight_decay (float): Decay of matrices; norms and biases have none.
        warmup (float): Share of the budget in which the rate rises.
        clip (float): Largest norm of the gradient.
        huber_delta (float): See
            :class:`~torch_geometric_rfm.loss.MaskedCellLoss`. Well below 1, as
            RelBench scores the absolute error.
        ema (float): Decay of the moving average of the weights that is
            evaluated and kept; 0 keeps the weights themselves.
        num_evals (int): Evaluations on val over the budget.
        max_eval_share (float): With a budget of minutes alone, evaluations are
            put off while they took more than this share of the time.
        patience (int): Evaluations without a better one before it stops.
        max_val_rows (int): Val rows that are scored, drawn once.
        protocol (str): Protocol of the val scores.
        mask_weight (float): Further cells of training contexts are hidden, see
            :class:`~torch_geometric_rfm.transforms.MaskCells`, and predicted; their
            loss counts by this factor beside that of the labels. With 0 none are.
        mask_rate (tuple): Range of the share of further cells that are hidden.
        drop_rate (float): Of each training context a share of the cells is left out
            at random, at most this one, see
            :class:`~torch_geometric_rfm.transforms.DropCells`; 0 for none.
        num_workers (int): Processes that sample.
        precision (str): Precision of Lightning Fabric.
        accelerator (str): Accelerator of Lightning Fabric.
        seed (int): Determines weights, batches and draws.
    """

    minutes: float | None = 5.0
    num_steps: int | None = None
    batch_size: int = 16
    temperature: float = 2.0
    lr: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: float = 0.05
    clip: float = 1.0
    huber_delta: float = 0.1
    ema: float = 0.99
    num_evals: int = 12
    max_eval_share: float = 0.15
    patience: int = 8
    max_val_rows: int = 1000
    protocol: str = 'rolling'
    mask_weight: float = 0.0
    mask_rate: tuple[float, float] = (0.15, 0.3)
    drop_rate: float = 0.0
    num_workers: int = 0
    precision: str = '32-true'
    accelerator: str = 'auto'
    seed: int = 0


@dataclass
class FitResult:
    r"""What a training run came to.

    Args:
        score: The best mean val score, higher is better.
        metrics: The val metrics then, by task.
        steps, contexts: How much was trained.
        seconds: Wall-clock time of the run.
        contexts_per_second: Rate of training alone.
        interrupted: Whether Ctrl-C ended it.
    """

    score: float
    metrics: dict[str, dict[str, float]]
    steps: int
    contexts: int
    seconds: float
    contexts_per_second: float
    interrupted: bool
    history: list[dict[str, Any]] = field(default_factory=list)


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
        out (str, optional): Folder for :obj:`metrics.csv`.
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
    averaged = clone_state(model)
    label_loss = MaskedCellLoss(config.huber_delta)
    cell_loss = MaskedCellLoss(config.huber_delta, reduction='context')
    loss_fn = LabelAndCellLoss(label_loss, cell_loss, config.mask_weight)

    # Batches:
    transforms: list[Any] = []
    if config.drop_rate:
        transforms.append(DropCells(rate=(0.01, config.drop_rate), seed=config.seed))
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
    budget = Budget(config.num_steps, config.minutes)
    best, best_state, stale = -float('inf'), None, 0
    best_metrics: dict[str, dict[str, float]] = {}
    contexts, train_seconds, interrupted = 0, 0.0, False
    next_eval, eval_seconds, losses = 1 / config.num_evals, 0.0, []
    bar = training_bar(show_progress)
    try:
        with bar:
            while budget.progress < 1 and stale < config.patience:
                # One step:
                start = budget.seconds
                factor = warmup_cosine(budget.progress, config.warmup)
                set_lr(optimizer, config.lr * factor)
                cells = next(batches).to(fabric.device)
                loss = loss_fn(network(cells, all_heads=True), cells)
                losses.append(loss.item())
                log.count(label_loss)
                if not np.isfinite(losses[-1]):
                    raise ValueError(
                        f'the loss is not finite (got {losses[-1]} in step '
                        f'{budget.step + 1} of {[s.task.name for s in tasks]}). Lower '
                        f'lr (got {config.lr}).'
                    )
                fabric.backward(loss)
                fabric.clip_gradients(
                    network, optimizer, max_norm=config.clip, error_if_nonfinite=False
                )
                optimizer.step()
                optimizer.zero_grad()
                budget.step += 1
                decay = min(config.ema, budget.step / (budget.step + 10))
                average_weights(averaged, model, decay)
                contexts += cells.num_contexts
                train_seconds += budget.seconds - start
                bar.update(budget.progress, losses[-1], best_metrics)

                # An evaluation:
                share = eval_seconds / max(budget.seconds, 1e-9)
                due = budget.progress >= next_eval and (
                    config.num_steps or share <= config.max_eval_share
                )
                if due or budget.progress >= 1:
                    start = budget.seconds
                    while next_eval <= budget.progress:
                        next_eval += 1 / config.num_evals
                    current = clone_state(model)
                    model.load_state_dict(averaged)
                    metrics, score = _evaluate(
                        network, tasks, val_rows, config, sampling
                    )
                    log.add(budget, losses, metrics, config.lr * factor)
                    losses = []
                    if score > best:
                        best, best_metrics, stale = score, metrics, 0
                        best_state = clone_state(model)
                        if save is not None:
                            save(model)
                    else:
                        stale += 1
                    model.load_state_dict(current)
                    eval_seconds += budget.seconds - start
    except KeyboardInterrupt:
        interrupted = True
    model.load_state_dict(averaged if best_state is None else best_state)
    model.eval()
    if save is not None:
        save(model)
    return FitResult(
        score=best,
        metrics=best_metrics,
        steps=budget.step,
        contexts=contexts,
        seconds=budget.seconds,
        contexts_per_second=contexts / max(train_seconds, 1e-9),
        interrupted=interrupted,
        history=log.rows,
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
