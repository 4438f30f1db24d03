r"""Baselines made of labels alone, each a function of a task store and its rows.

Own labels of an entity count for a row that sees up to :math:`u` if they are of
a time before :math:`u` and known by then: :math:`t < u` and
:math:`t + \text{horizon} \le u`. The label of the row itself never counts. Where
an entity has none, a constant stands in: the share of true train labels in a
binary task, the median of the train labels in regression.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data import CellType, LinkTask, Task, TaskStore
from torch_geometric_rfm.metrics.link_baselines import recommend_by_counts
from torch_geometric_rfm.sampler import LabelSmoothing

Rows = NDArray[np.int64]
Baseline = Callable[[TaskStore, Rows, Rows], NDArray[np.float64]]


def global_mean(store: TaskStore, rows: Rows, until: Rows) -> NDArray[np.float64]:
    r"""The mean of the train labels, for every row.

    Args:
        store (TaskStore): The task.
        rows: :obj:`[n]` rows of the task table.
        until: :obj:`[n]` up to when each sees, in unix seconds.

    Returns:
        :obj:`[n]` predictions.
    """
    return np.full(len(rows), np.nanmean(_train_labels(store)))


def global_median(store: TaskStore, rows: Rows, until: Rows) -> NDArray[np.float64]:
    r"""The median of the train labels, for every row: what has the least absolute
    error among constants. See :func:`global_mean` for the arguments.
    """
    return np.full(len(rows), np.nanmedian(_train_labels(store)))


def entity_mean(store: TaskStore, rows: Rows, until: Rows) -> NDArray[np.float64]:
    r"""The mean of all labels of the entity, of any split, that are known by then.
    See :func:`global_mean` for the arguments.
    """
    own = store.arrays.own_row
    start, end = _known_range(store, own, rows, until)
    return _range_mean(store, own, start, end)


def entity_mean_train(store: TaskStore, rows: Rows, until: Rows) -> NDArray[np.float64]:
    r"""The mean of the train labels of the entity that are known by then. See
    :func:`global_mean` for the arguments.
    """
    own = store.arrays.own_row
    own = own[store.split[own] == 'train']
    start, end = _known_range(store, own, rows, until)
    return _range_mean(store, own, start, end)


def last_labels(store: TaskStore, rows: Rows, until: Rows) -> NDArray[np.float64]:
    r"""The mean of the last three labels of the entity that are known by then. See
    :func:`global_mean` for the arguments.
    """
    own = store.arrays.own_row
    start, end = _known_range(store, own, rows, until)
    return _range_mean(store, own, np.maximum(start, end - 3), end)


def smoothed_labels(
    store: TaskStore,
    rows: Rows,
    until: Rows,
    smoothing: LabelSmoothing | None = None,
) -> NDArray[np.float64]:
    r"""A forecast from all labels of the entity that are known by then, by
    :class:`~torch_geometric_rfm.sampler.LabelSmoothing`: that of least squared error
    on train rows, of several half-lives. See :func:`global_mean` for the arguments.

    Args:
        store (TaskStore): The task.
        rows: :obj:`[n]` rows of the task table.
        until: :obj:`[n]` up to when each sees, in unix seconds.
        smoothing (LabelSmoothing, optional): The one to use; chosen if not given.
            (default: :obj:`None`)
    """
    smoothing = smoothing or LabelSmoothing(store)
    smoothed = smoothing.values(store.arrays.entity[rows], until)
    smoothed = store.label_mean + store.label_std * smoothed
    return np.where(np.isnan(smoothed), _constant(store), smoothed)


def class_frequency(store: TaskStore, rows: Rows, until: Rows) -> NDArray[np.float64]:
    r"""The frequencies of the classes in the train labels, for every row; the most
    frequent class is the majority. See :func:`global_mean` for the arguments.

    Returns:
        :obj:`[n, classes]` probabilities.
    """
    size = len(store.task.classes)
    train = _train_labels(store)
    train = train[train < size]  # False for NaN.
    count = np.bincount(train.astype(np.int64), minlength=size)
    return np.tile(count / count.sum(), (len(rows), 1))


def entity_class_frequency(
    store: TaskStore, rows: Rows, until: Rows
) -> NDArray[np.float64]:
    r"""The frequencies of the classes in all labels of the entity that are known by
    then, with those of the train labels as one more label. See
    :func:`class_frequency` for the arguments.
    """
    own = store.arrays.own_row
    start, end = _known_range(store, own, rows, until)
    prior = class_frequency(store, rows, until)
    label = _labels(store)[own]
    columns = [
        np.concatenate([[0], np.cumsum(label == c)]) for c in range(prior.shape[1])
    ]
    count = np.stack([c[end] - c[start] for c in columns], axis=1) + prior
    return count / count.sum(axis=1, keepdims=True)


def baselines_of(task: Task) -> dict[str, Baseline]:
    r"""The baselines of a task by name, the simplest first.

    Args:
        task (Task): The task; only regression has a median, and categories have
            baselines of their own.
    """
    if task.cell_type == CellType.CATEGORY:
        return {
            'class_frequency': class_frequency,
            'entity_class_frequency': entity_class_frequency,
        }
    baselines: list[Baseline] = [global_mean]
    if task.cell_type != CellType.BOOLEAN:
        baselines.append(global_median)
    baselines += [entity_mean_train, entity_mean, last_labels, smoothed_labels]
    return {baseline.__name__: baseline for baseline in baselines}


def evaluate_baselines(
    task_store: TaskStore,
    split: str,
    protocol: str = 'rolling',
    rows: Rows | None = None,
) -> dict[str, dict[str, float]]:
    r"""Scores the baselines on the very rows a model is scored on: those of a split,
    or some of them.

    Args:
        task_store (TaskStore): The task over its database.
        split (str): The split.
        protocol (str): :obj:`"rolling"` or :obj:`"frozen"`, see
            :meth:`~torch_geometric_rfm.data.TaskStore.visible_until`.
            (default: :obj:`"rolling"`)
        rows: Rows of the task table to score alone, but of a recommendation task.
            (default: :obj:`None`)

    Returns:
        For each baseline the metrics of the task.

    Raises:
        ValueError: If the split has no rows or lacks labels.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> list(evaluate_baselines(toy_task_store(), 'test'))
        ['global_mean', 'entity_mean_train', 'entity_mean', 'last_labels',
         'smoothed_labels']
    """
    task = task_store.task
    if rows is not None:
        label, until = (
            _labels(task_store)[rows],
            task_store.visible_until(rows, protocol),
        )
        return {
            name: task.score(label, baseline(task_store, rows, until))
            for name, baseline in baselines_of(task).items()
        }
    rows = task_store.rows_of_split(split)
    until = task_store.visible_until(rows, protocol)
    if isinstance(task, LinkTask):
        found = recommend_by_counts(task_store, rows, until)
        return {name: task.evaluate(best, split) for name, best in found.items()}
    return {
        name: task.evaluate(baseline(task_store, rows, until), split)
        for name, baseline in baselines_of(task).items()
    }


def _labels(store: TaskStore) -> NDArray[np.float64]:
    return store.task.frame['label'].to_numpy(dtype=np.float64)


def _train_labels(store: TaskStore) -> NDArray[np.float64]:
    return _labels(store)[store.split == 'train']


def _constant(store: TaskStore) -> float:
    # Of entities without labels.
    boolean = store.task.cell_type == CellType.BOOLEAN
    train = _train_labels(store)
    return float(np.nanmean(train) if boolean else np.nanmedian(train))


def _known_range(
    store: TaskStore, own: Rows, rows: Rows, until: Rows
) -> tuple[Rows, Rows]:
    # `own` lists labelled rows by entity and time, so that what is known of an
    # entity is a range: one binary search on (entity, rank of time) finds its end.
    arrays = store.arrays
    times = np.unique(arrays.time[own])
    entity = arrays.entity - arrays.first_entity
    # A time that counts is at most `last`: before `until`, and known by then.
    last = until - max(1, arrays.horizon)
    base = entity[rows] * (times.size + 1)
    rank = np.searchsorted(times, last, side='right')
    own_rank = np.searchsorted(times, arrays.time[own]) + 1
    key = entity[own] * (times.size + 1) + own_rank
    start = np.searchsorted(key, base, side='right')
    return start, np.searchsorted(key, base + rank, side='right')


def _range_mean(
    store: TaskStore, own: Rows, start: Rows, end: Rows
) -> NDArray[np.float64]:
    # Prefix sums of zeros and ones are exact, so that equal means stay equal and tie
    # in a ranking; those of numbers are kept small.
    constant = _constant(store)
    centre = 0.0 if store.task.cell_type == CellType.BOOLEAN else constant
    prefix = np.concatenate([[0.0], np.cumsum(_labels(store)[own] - centre)])
    mean = centre + (prefix[end] - prefix[start]) / np.maximum(end - start, 1)
    return np.where(end > start, mean, constant)
