from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.pair_history import FIGURES
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loss import SampledSoftmaxLoss
from torch_geometric_rfm.nn.models.relational_recommender import RelationalRecommender
from torch_geometric_rfm.train.evaluation import draw_rows
from torch_geometric_rfm.train.link_contexts import LinkContexts, time_batches
from torch_geometric_rfm.train.optimizer import make_fabric, make_optimizer
from torch_geometric_rfm.train.predict_links import predict_links
from torch_geometric_rfm.train.report import MetricsLog
from torch_geometric_rfm.train.schedule import Budget
from torch_geometric_rfm.train.train_config import TrainConfig
from torch_geometric_rfm.train.training_loop import FitResult, run_training

SAMPLING = ('random', 'popular')
Rows = NDArray[np.int64]


def check_link_config(config: TrainConfig) -> None:
    r"""Checks that nothing is asked for that recommendation tasks do not have.

    Raises:
        ValueError: If cells of train contexts are to be left out or hidden.
    """
    for name in ('drop_rate', 'mask_weight'):
        if getattr(config, name):
            raise ValueError(
                f'{name} is not of recommendation tasks (got {getattr(config, name)}); '
                'leave it out'
            )


def fit_links(
    recommender: RelationalRecommender,
    store: TaskStore,
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    save: Callable[[RelationalRecommender], None] | None = None,
    show_progress: bool = True,
    num_candidates: int = 128,
    negatives: str = 'popular',
    history_steps: int = 300,
    **sampling: Any,
) -> FitResult:
    r"""Trains a recommender on a recommendation task.

    What is counted is learnt first, which takes no contexts; then all of it. A batch
    has entities of neighbouring times, and destinations as known at the
    earliest of them: true ones, and others that are drawn and corrected for how
    likely that was. Up to :obj:`num_candidates` destinations, all take part. The
    recommender ends with the weights that scored best on val.

    Args:
        recommender (RelationalRecommender): The recommender, trained in place.
        store (TaskStore): The database with the task.
        config (TrainConfig, optional): How to train. (default: :obj:`None`)
        out (str, optional): Folder for :obj:`metrics.csv`.
            (default: :obj:`None`)
        save (callable, optional): Called with the recommender whenever it has
            become better on val, and at the end. (default: :obj:`None`)
        show_progress (bool): Whether to draw a progress bar.
            (default: :obj:`True`)
        num_candidates (int): Destinations of a batch at most, half of them true
            ones. (default: :obj:`128`)
        history_steps (int): Steps in which counts alone are learnt.
            (default: :obj:`300`)
        negatives (str): :obj:`"random"` draws destinations alike,
            :obj:`"popular"` in proportion to how often they were linked to, to the
            power of 3/4. (default: :obj:`"popular"`)
        **sampling: Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Raises:
        ImportError: If Lightning Fabric is not installed.
        ValueError: If an argument is unknown or of other tasks, val has no truth, or
            the loss is not finite.
    """
    if negatives not in SAMPLING:
        raise ValueError(f'negatives must be one of {SAMPLING} (got {negatives!r})')
    if num_candidates < 2:
        raise ValueError(f'num_candidates must be at least 2 (got {num_candidates})')
    config = config or TrainConfig()
    check_link_config(config)
    fabric = make_fabric(config.accelerator, config.precision)
    torch.manual_seed(config.seed)
    train = LinkContexts(
        store, store.rows_of_split('train'), seed=config.seed, **sampling
    )
    val_rows = draw_rows(store, 'val', config.max_val_rows, config.seed)
    val = LinkContexts(
        store, val_rows, config.protocol, pair_history=train.pair_history, **sampling
    )
    train.task.score_rows(val_rows, np.full((len(val_rows), train.task.k), -1))

    # Model and optimizer:
    optimizer = make_optimizer(recommender, config.lr, config.weight_decay)
    network, optimizer = fabric.setup(recommender, optimizer)
    loss_fn = SampledSoftmaxLoss()

    draws = _draws(train, config, num_candidates, negatives)
    batches: Iterator[Any] = (_contexts(train, *draw) for draw in draws)
    # The first batch compiles the sampler, before the clock starts.
    batches = chain([next(batches)], batches)
    budget = Budget(config.num_steps, config.minutes)
    if history_steps:
        steps = _draws(train, config, num_candidates, negatives)
        _fit_history(recommender, train, islice(steps, history_steps), fabric.device)

    def step() -> tuple[Tensor, int]:
        inputs, truth, log_weight = next(batches)
        inputs = [x if isinstance(x, int) else x.to(fabric.device) for x in inputs]
        truth, log_weight = truth.to(fabric.device), log_weight.to(fabric.device)
        score = network(*inputs, log_weight)
        return loss_fn(score, truth, log_weight), truth.size(0)

    def evaluate() -> tuple[dict[str, dict[str, float]], float]:
        found, _ = predict_links(recommender, store, val_rows, contexts=val)
        figures = train.task.score_rows(val_rows, found)
        return {train.task.name: figures}, next(iter(figures.values()))

    return run_training(
        recommender,
        network,
        optimizer,
        fabric,
        config,
        step,
        evaluate,
        MetricsLog(out),
        [train.task.name],
        save,
        show_progress,
        eval_start=True,  # What counts alone score.
        budget=budget,
    )


def _draws(
    train: LinkContexts, config: TrainConfig, num_candidates: int, negatives: str
) -> Iterator[tuple[int, Rows, Rows, NDArray[np.float32]]]:
    # Endless batches: epoch, positions of entities, destinations and their weights.
    for epoch in count():
        rng, found = np.random.default_rng([config.seed, epoch]), False
        for index in time_batches(train.until, config.batch_size, rng):
            time = int(train.until[index].min())
            linked = train.popularity(time)[:, ::FIGURES].double().numpy()
            chosen, log_weight = draw_candidates(
                np.flatnonzero(train.existing(time)),
                [train.truth[i] for i in index],
                np.expm1(linked).sum(axis=1),
                num_candidates,
                negatives,
                rng,
            )
            if any(np.isin(train.truth[i], chosen).any() for i in index):
                found = True
                yield epoch, index, chosen, log_weight
        if not found:
            raise ValueError(
                f"no train row of task '{train.task.name}' has a destination that "
                'exists at its time, so that there is nothing to learn from; look at '
                f"the times of table '{train.task.destination_table}'"
            )


def _truth(train: LinkContexts, index: Rows, chosen: Rows) -> Tensor:
    return torch.from_numpy(np.stack([np.isin(chosen, train.truth[i]) for i in index]))


def _contexts(
    train: LinkContexts,
    epoch: int,
    index: Rows,
    chosen: Rows,
    log_weight: NDArray[np.float32],
) -> Any:
    time = int(train.until[index].min())
    inputs = [
        train.sources(index, epoch),
        train.destinations(chosen, time, epoch),
        torch.from_numpy(chosen),
        train.table,
        train.popularity(time),
        *train.pairs(index),
    ]
    return inputs, _truth(train, index, chosen), torch.from_numpy(log_weight)


def _fit_history(
    recommender: RelationalRecommender, train: LinkContexts, draws: Any, device: Any
) -> None:
    parts = (recommender.pair_mlp, recommender.popularity_mlp)
    optimizer = torch.optim.AdamW([p for m in parts for p in m.parameters()], lr=1e-2)
    loss_fn = SampledSoftmaxLoss()
    for _, index, chosen, log_weight in draws:
        popularity = train.popularity(int(train.until[index].min()))
        counts = (torch.from_numpy(chosen), popularity, *train.pairs(index))
        score = recommender.score_history(len(index), *(x.to(device) for x in counts))
        truth = _truth(train, index, chosen).to(device)
        loss = loss_fn(score, truth, torch.from_numpy(log_weight).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def draw_candidates(
    known: NDArray[np.int64],
    truth: list[NDArray[np.int64]],
    popularity: NDArray[np.float64],
    num_candidates: int,
    negatives: str,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    r"""Destinations of a batch, and the logarithm of their weights as negatives.

    Args:
        known: :obj:`[D']` the destinations that exist, in order.
        truth: The true destinations of each entity.
        popularity: :obj:`[D]` how often each was linked to.
        num_candidates: How many at most; half of them may be true ones.
        negatives: :obj:`"random"` or :obj:`"popular"`.
        rng: The source of the draws.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> known, truth = np.arange(100), [np.array([7, 8])]
        >>> chosen, log_weight = draw_candidates(
        ...     known, truth, np.ones(100), 10, 'random', rng)
        >>> bool(np.isin([7, 8], chosen).all()), len(chosen) <= 10
        (True, True)
    """
    if known.size <= num_candidates:
        return known, np.zeros(known.size, dtype=np.float32)
    true = np.intersect1d(np.concatenate(truth), known)
    if true.size > num_candidates // 2:
        true = rng.choice(true, num_candidates // 2, replace=False)
    weight = np.ones(known.size)
    if negatives == 'popular':
        weight = (1.0 + popularity[known]) ** 0.75
    q = weight / weight.sum()
    num_draws = num_candidates - true.size
    drawn = rng.choice(known.size, num_draws, p=q)
    times = np.bincount(drawn, minlength=known.size)
    chosen = np.union1d(true, known[drawn])
    place = np.searchsorted(known, chosen)
    with np.errstate(divide='ignore'):
        log_weight = np.log(times[place] / (num_draws * q[place]))
    return chosen, log_weight.astype(np.float32)
