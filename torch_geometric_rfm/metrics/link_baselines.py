r"""Baselines of recommendation tasks, made of counts of past links alone.

They count the rows of the richest path from an entity to destinations, see
:class:`~torch_geometric_rfm.data.PairHistory`. Where past links of an entity tie or
run out, destinations follow by their recent popularity, then by all of it.
"""

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data import LinkTask, PairHistory, TaskStore
from torch_geometric_rfm.data.pair_history import FIGURES

Rows = NDArray[np.int64]
NAMES = ('popularity', 'recent_popularity', 'past_links', 'recent_links')


def recommend_by_counts(
    store: TaskStore, rows: Rows, until: Rows, k: int | None = None
) -> dict[str, Rows]:
    r"""The recommendations of each baseline.

    Args:
        store (TaskStore): The recommendation task.
        rows: :obj:`[n]` rows of the task table.
        until: :obj:`[n]` up to when each sees, in unix seconds.
        k (int, optional): How many; that of the task if not given.
            (default: :obj:`None`)

    Returns:
        :obj:`[n, k]` rows of destinations, for :obj:`"popularity"`,
        :obj:`"recent_popularity"` (within one horizon), and :obj:`"past_links"` and
        :obj:`"recent_links"` of the entity itself.
    """
    task = store.task
    assert isinstance(task, LinkTask)
    k = task.k if k is None else k
    window = int(task.horizon.total_seconds())
    history = PairHistory(
        store.store, task.entity_table, task.destination_table, window
    )
    if not history.paths:
        raise ValueError(
            f"no foreign keys lead from '{task.entity_table}' to "
            f"'{task.destination_table}' by rows of another table: there are no past "
            f"links to count for task '{task.name}'"
        )
    size = [len(path.time) for path in history.pair_paths]
    own = FIGURES * int(np.argmax(size)) if size else None
    path = history.pair_paths[int(np.argmax(size))] if size else history.paths[0]
    place = FIGURES * history.paths.index(path)
    entity = task.frame['entity'].to_numpy(dtype=np.int64)[rows]
    pairs = history.pairs(entity, until)
    out = {name: np.empty((len(rows), k), dtype=np.int64) for name in NAMES}
    figures = {time: history.popularity(time) for time in np.unique(until).tolist()}
    for i, time in enumerate(until.tolist()):
        total, recent = figures[time][:, place], figures[time][:, place + 1]
        exists = history.exists_from <= time
        links = np.zeros((2, len(total)))
        if own is not None:
            met = pairs.seed == i
            links[:, pairs.destination[met]] = pairs.value[met, own : own + 2].T
        keys = {
            'popularity': (total,),
            'recent_popularity': (total, recent),
            'past_links': (total, recent, links[0]),
            'recent_links': (total, recent, links[0], links[1]),
        }
        for name, by in keys.items():
            # Of equals the lower row comes first.
            order = np.lexsort([-key for key in by])
            order = order[exists[order]][:k]
            out[name][i] = np.pad(order, (0, k - len(order)), constant_values=-1)
    return out
