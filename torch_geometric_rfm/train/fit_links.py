from collections.abc import Callable, Iterator
from itertools import count, islice
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
from torch_geometric_rfm.train.averaging import average_weights, clone_state
from torch_geometric_rfm.train.evaluation import draw_rows
from torch_geometric_rfm.train.fit import FitResult, TrainConfig
from torch_geometric_rfm.train.link_contexts import LinkContexts, time_batches
from torch_geometric_rfm.train.optimizer import make_fabric, make_optimizer, set_lr
from torch_geometric_rfm.train.predict_links import predict_links
from torch_geometric_rfm.train.report import MetricsLog, training_bar
from torch_geometric_rfm.train.schedule import Budget, warmup_cosine

SAMPLING = ('random', 'popular')
Rows = NDArray[np.int64]


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
        ValueError: If an argument is unknown, val has no truth, or the loss is not
            finite.
    """
    if negatives not in SAMPLING:
        raise ValueError(f'negatives must be one of {SAMPLING} (got {negatives!r})')
    if num_candidates < 2:
        raise ValueError(f'num_candidates must be at least 2 (got {num_candidates})')
    config = config or TrainConfig()
    fabric = make_fabric(config.accelerator, config.precision)
    torch.manual_seed(config.seed)
    train = LinkContexts(
        store, store.rows_of_split('train'), seed=config.seed, **sampling
    )
    val_rows = draw_rows(store, 'val', config.max_val_rows, config.seed)
    val = LinkContexts(
        store, val_rows, config.protocol, history=train.history, **sampling
    )
    train.task.score_rows(val_rows, np.full((len(val_rows), train.task.k), -1))

    # Model and optimizer:
    optimizer = make_optimizer(recommender, config.lr, config.weight_decay)
    network, optimizer = fabric.setup(recommender, optimizer)
    averaged = clone_state(recommender)
    loss_fn = SampledSoftmaxLoss()

    log = MetricsLog(out)
    draws = _draws(train, config, num_candidates, negatives)
    batches = (_contexts(train, *draw) for draw in draws)
    first = next(batches)  # It compiles the sampler, before the clock starts.
    budget = Budget(config.num_steps, config.minutes)
    if history_steps:
        steps = _draws(train, config, num_candidates, negatives)
        _fit_history(recommender, train, islice(steps, history_steps), fabric.device)
        averaged = clone_state(recommender)
    best, best_state, stale = -float('inf'), None, 0
    best_metrics: dict[str, dict[str, float]] = {}
    contexts, train_seconds, interrupted = 0, 0.0, False
    next_eval, losses = 0.0, []
    bar = training_bar(show_progress)
    try:
        with bar:
            while budget.progress < 1 and stale < config.patience:
                # One step:
                start = budget.seconds
                factor = warmup_cosine(budget.progress, config.warmup)
                set_lr(optimizer, config.lr * factor)
                inputs, truth, log_weight = first or next(batches)
                first = None
                inputs = [
                    x if isinstance(x, int) else x.to(fabric.device) for x in inputs
                ]
                score = network(*inputs)
                loss = loss_fn(
                    score, truth.to(fabric.device), log_weight.to(fabric.device)
                )
                losses.append(loss.item())
                if not np.isfinite(losses[-1]):
                    raise ValueError(
                        f'the loss is not finite (got {losses[-1]} in step '
                        f'{budget.step + 1}). Lower lr (got {config.lr}).'
                    )
                fabric.backward(loss)
                fabric.clip_gradients(
                    network, optimizer, max_norm=config.clip, error_if_nonfinite=False
                )
                optimizer.step()
                optimizer.zero_grad()
                budget.step += 1
                decay = min(config.ema, budget.step / (budget.step + 10))
                average_weights(averaged, recommender, decay)
                contexts += truth.size(0)
                train_seconds += budget.seconds - start
                bar.update(budget.progress, losses[-1], best_metrics)

                # An evaluation:
                if budget.progress >= min(next_eval, 1.0):
                    while next_eval <= budget.progress:
                        next_eval += 1 / config.num_evals
                    current = clone_state(recommender)
                    recommender.load_state_dict(averaged)
                    found, _ = predict_links(recommender, store, val_rows, contexts=val)
                    figures = train.task.score_rows(val_rows, found)
                    metrics = {train.task.name: figures}
                    log.add(budget, losses, metrics, config.lr * factor)
                    losses = []
                    value = next(iter(figures.values()))
                    if value > best:
                        best, best_metrics, stale = value, metrics, 0
                        best_state = clone_state(recommender)
                        if save is not None:
                            save(recommender)
                    else:
                        stale += 1
                    recommender.load_state_dict(current)
    except KeyboardInterrupt:
        interrupted = True
    recommender.load_state_dict(averaged if best_state is None else best_state)
    recommender.eval()
    if save is not None:
        save(recommender)
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


def _draws(
    train: LinkContexts, config: TrainConfig, num_candidates: int, negatives: str
) -> Iterator[tuple[int, Rows, Rows, NDArray[np.float32]]]:
    # Endless batches: epoch, positions of entities, destinations and their weights.
    for epoch in count():
        rng = np.random.default_rng([config.seed, epoch])
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
                yield epoch, index, chosen, log_weight


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
