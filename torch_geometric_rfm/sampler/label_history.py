import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.sampler.label_history_kernel import (
    running_sums,
    summarise_labels,
)
from torch_geometric_rfm.sampler.label_smoothing import LabelSmoothing


class LabelHistory:
    r"""Summaries of the labels that are known at a time, where they are numbers or
    booleans: the mean of those of an entity, and the forecast that
    :class:`LabelSmoothing` makes of them; the mean of everyone's in the last four
    horizons of the task; and the number of the entity's, as :math:`\log(1 + n)`.

    Tasks whose train rows ask once about each entity have no own labels to summarise,
    and those without a horizon no window.

    Args:
        store (TaskStore): The database with a task.

    Attributes:
        names (list[str]): What each summary is called.
        is_mean (np.ndarray): :obj:`[len(names)]` whether it is a mean, in the unit of
            normalised labels.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> history = LabelHistory(store)
        >>> history.names[0]
        'mean orders of customer-orders'
        >>> rows = store.rows_of_split('test')
        >>> entity, time = store.arrays.entity[rows], store.arrays.time[rows]
        >>> history.values(entity, time).shape == (len(rows), 4)
        True
    """

    def __init__(self, store: TaskStore) -> None:
        self.arrays, task = store.arrays, store.task
        # By train rows alone: what comes later must not change what contexts hold.
        train = (store.split == 'train') & ~np.isnan(self.arrays.value)
        entity = self.arrays.entity[train] - self.arrays.first_entity
        self.has_own = bool(np.bincount(entity).max(initial=0) > 1)
        self.names: list[str] = []
        self.is_mean = np.zeros(0, dtype=bool)
        self.smoothing: LabelSmoothing | None = None
        if task.cell_type not in (CellType.NUMBER, CellType.BOOLEAN):
            return
        mean = f'mean {task.target_col} of {task.name}'
        if self.has_own:
            self.smoothing = LabelSmoothing(store)
            self.names += [mean, f'{mean}, smoothed']
        if self.arrays.horizon > 0:
            self.names.append(f'{mean} of all lately')
        self.is_mean = np.ones(len(self.names) + self.has_own, dtype=bool)
        if self.has_own:
            self.names.append(f'number of known {task.name}')
            self.is_mean[-1] = False
        value = self.arrays.value.astype(np.float64)
        self.own_sum = running_sums(value[self.arrays.own_row], self.arrays.own_start)
        self.all_sum = np.cumsum(value[self.arrays.label_row])

    def values(
        self, rows: NDArray[np.int64], until: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        r"""The summaries :obj:`[B, len(names)]` of entities, NaN where there are none.

        Args:
            rows: :obj:`[B]` their rows in the store.
            until: :obj:`[B]` up to when each may look.
        """
        out = np.empty((len(rows), len(self.names)))
        if self.names:
            sums = self.own_sum, self.all_sum
            summarise_labels(self.arrays, *sums, self.has_own, rows, until, out)
        if self.smoothing is not None:
            out[:, 1] = self.smoothing.values(rows, until)
        return out
