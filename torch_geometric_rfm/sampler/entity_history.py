import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.column_quantiles import NUM_BINS, quantiles_of
from torch_geometric_rfm.data.store_arrays import ALWAYS, KIND_BOOLEAN, KIND_NUMBER
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.sampler.history_kernel import MEAN, HistoryArrays, summarise
from torch_geometric_rfm.sampler.label_history import LabelHistory

_WINDOWS = (1, 4)  # horizons
_MAX_ROWS = 4096  # of train, evenly spread, that statistics are taken from
_DAY = 86_400


class EntityHistory:
    r"""Cells that summarise all that is known of an entity at a time.

    First come those of known labels, see
    :class:`~torch_geometric_rfm.sampler.LabelHistory`. Then, for each foreign key that
    leads to the entity's table, the number of children, as :math:`\log(1 + n)`, in
    all and, where they have times, in the last one and four horizons of the task, and
    the mean of each of their numbers and booleans over the latest of them. Means of
    labels have the unit of labels; all others are normalised, as numbers are, with
    statistics from train rows at their own times.

    Args:
        store (TaskStore): The database with a task.
        num_cells (int): Cells at most: those of labels, the counts, and then the means,
            of all foreign keys in turn.
        num_children (int): Children of a foreign key that means are taken over.
        strict (bool): Leave out children of exactly the time. (default: :obj:`False`)

    Attributes:
        names (list[str]): What each cell is called.
        column_embedding (Tensor): :obj:`[cells, text_channels]` of the names.
        is_label_mean (np.ndarray): :obj:`[cells]` whether it is a mean of labels.
        column_quantiles (Tensor): :obj:`[cells, 33]`, see
            :func:`~torch_geometric_rfm.data.column_quantiles`.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> history = EntityHistory(store, num_cells=5, num_children=64)
        >>> history.names[-1]
        'number of orders by customer_id'
        >>> rows = store.rows_of_split('test')
        >>> entity, time = store.arrays.entity[rows], store.arrays.time[rows]
        >>> history.values(entity, time).shape == (len(rows), 5)
        True
    """

    def __init__(
        self,
        store: TaskStore,
        num_cells: int,
        num_children: int,
        strict: bool = False,
    ) -> None:
        self.store, self.strict = store.store.arrays, strict
        self.labels = LabelHistory(store)
        names = self.labels.names[:num_cells]
        self.num_label_cells = len(names)
        children, self.arrays = _plan(store, num_cells - len(names), num_children)
        self.names = [*names, *children]
        self.is_label_mean = np.zeros(len(self.names), dtype=bool)
        self.is_label_mean[: len(names)] = self.labels.is_mean[: len(names)]
        self.mean, self.std = np.zeros(len(self.names)), np.ones(len(self.names))
        train = np.flatnonzero(store.split == 'train')
        train = train[:: max(1, -(-train.size // _MAX_ROWS))]
        found = self.values(store.arrays.entity[train], store.arrays.time[train])
        if train.size:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', RuntimeWarning)  # All-NaN columns.
                mean, std = np.nanmean(found, axis=0), np.nanstd(found, axis=0)
            own_unit = ~self.is_label_mean
            self.mean = np.where(own_unit, np.nan_to_num(mean), 0.0)
            self.std = np.where(own_unit & (std > 1e-6), std, 1.0)  # False for NaN.
        normal = (found - self.mean) / self.std
        edges = [quantiles_of(column) for column in normal.T]
        self.column_quantiles = torch.from_numpy(
            np.array(edges, dtype=np.float32).reshape(-1, NUM_BINS + 1)
        )
        self.column_embedding: Tensor = store.store.embed(self.names)

    def values(
        self, rows: NDArray[np.int64], until: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        r"""The cells :obj:`[B, cells]` of entities, NaN where there are none.

        Args:
            rows: :obj:`[B]` their rows in the store.
            until: :obj:`[B]` up to when each may look.
        """
        labels = self.labels.values(rows, until)[:, : self.num_label_cells]
        children = np.empty((len(rows), len(self.names) - self.num_label_cells))
        summarise(self.store, self.arrays, rows, until - self.strict, children)
        return (np.concatenate([labels, children], axis=1) - self.mean) / self.std


def _plan(
    store: TaskStore, num_cells: int, num_children: int
) -> tuple[list[str], HistoryArrays]:
    arrays, task = store.store.arrays, store.arrays
    table = store.store.table_names.index(store.task.entity_table)
    first, last = arrays.incoming_start[table : table + 2]
    fkeys = arrays.incoming[first:last]
    counts, means = [], []
    for k in fkeys:
        child = int(arrays.fkey_child[k])
        name = store.store.table_names[child]
        key = store.store.fkey_names[k].removeprefix(f'{name}.')
        rows = slice(*arrays.table_start[child : child + 2])
        is_dated = bool((arrays.row_time[rows] != ALWAYS).any())
        windows = [0]
        if is_dated and task.horizon:
            windows += [task.horizon * count for count in _WINDOWS]
        counts.append([(_count_name(name, key, w), w, -1) for w in windows])
        columns = range(*arrays.column_start[child : child + 2])
        means.append(
            [
                (f'mean {store.store.column_names[c]} by {key}', MEAN, c)
                for c in columns
                if arrays.column_kind[c] in (KIND_NUMBER, KIND_BOOLEAN)
                and not task.hidden[c]
            ]
        )
    chosen: list[list[tuple[str, int, int]]] = [[] for _ in fkeys]
    for kind in (counts, means):
        for turn in range(max(map(len, kind), default=0)):
            for cells, given in zip(chosen, kind):
                if turn < len(given) and sum(map(len, chosen)) < num_cells:
                    cells.append(given[turn])
    flat = [cell for cells in chosen for cell in cells]
    return [name for name, _, _ in flat], HistoryArrays(
        fkey=np.array(fkeys, dtype=np.int64),
        cell_start=np.cumsum([0, *map(len, chosen)]).astype(np.int64),
        window=np.array([window for _, window, _ in flat], dtype=np.int64),
        column=np.array([column for _, _, column in flat], dtype=np.int64),
        num_children=num_children,
    )


def _count_name(table: str, key: str, window: int) -> str:
    name = f'number of {table} by {key}'
    return name if not window else f'{name} in the last {window / _DAY:g} days'
