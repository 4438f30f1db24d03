r"""Labels in the making: which rows a task has, and whether they make one."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import SPLITS

MIN_TRAIN_ROWS, MIN_VAL_ROWS = 100, 20
_MAX_SHARE = 0.97


class Labels(NamedTuple):
    r"""Known labels of entities at times.

    Args:
        entity: :obj:`[n]` rows of the entities in their table.
        time: :obj:`[n]` unix seconds.
        split: :obj:`[n]` positions in :obj:`SPLITS`.
        label: :obj:`[n]`.
    """

    entity: NDArray[np.int64]
    time: NDArray[np.int64]
    split: NDArray[np.int64]
    label: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> 'Labels':
        r"""Some of them."""
        return Labels(
            self.entity[rows], self.time[rows], self.split[rows], self.label[rows]
        )

    def bounded(self, max_rows: int, rank: NDArray[np.int64]) -> 'Labels':
        r"""Those of the first entities by rank, at most :obj:`max_rows` of each
        split, so that entities keep all of their labels.

        Args:
            max_rows: The most rows of a split.
            rank: :obj:`[entities]` in which order entities are taken.
        """
        keep: NDArray[np.bool_] = np.ones(len(self.label), dtype=bool)
        place = rank[self.entity]
        for split in range(len(SPLITS)):
            rows = np.flatnonzero(self.split == split)
            if len(rows) > max_rows:
                total = np.cumsum(np.bincount(place[rows], minlength=len(rank)))
                keep[rows] = total[place[rows]] <= max_rows
        return self if keep.all() else self.take(keep)

    def why_unusable(self, cell_type: CellType) -> str | None:
        r"""Why they make no task, or :obj:`None` if they do."""
        train, val = (self.label[self.split == split] for split in (0, 1))
        if len(train) < MIN_TRAIN_ROWS:
            return f'{len(train)} train rows, of at least {MIN_TRAIN_ROWS}'
        if len(val) < MIN_VAL_ROWS:
            return f'{len(val)} val rows, of at least {MIN_VAL_ROWS}'
        values, counts = np.unique(train, return_counts=True)
        share = counts.max() / len(train)
        if share > _MAX_SHARE:
            return f'{share:.1%} of the train labels are equal'
        if cell_type != CellType.BOOLEAN and len(values) < 3:
            return f'{len(values)} distinct train labels, of at least 3'
        if (val == val[0]).all():
            return 'all val labels are equal'
        return None

    def to_frame(self) -> pd.DataFrame:
        r"""The frame of a :class:`~torch_geometric_rfm.data.Task`."""
        time = self.time.astype('datetime64[s]').astype('datetime64[ns]')
        split = np.array(SPLITS, dtype=object)[self.split]
        columns = {'entity': self.entity, 'time': time, 'label': self.label}
        return pd.DataFrame({**columns, 'split': split})
