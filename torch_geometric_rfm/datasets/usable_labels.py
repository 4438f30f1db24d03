r"""Which labels make a task, and how many rows it has."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType

MIN_TRAIN_ROWS, MIN_VAL_ROWS = 100, 20
_MAX_SHARE = 0.97


def why_unusable(frame: pd.DataFrame, cell_type: CellType) -> str | None:
    r"""Why a frame of labels makes no task, or :obj:`None` if it does.

    Args:
        frame: Columns :obj:`label` and :obj:`split`, labels all known.
        cell_type: What the labels are.
    """
    split = frame['split'].to_numpy()
    label = frame['label'].to_numpy()
    train, val = label[split == 'train'], label[split == 'val']
    for name, rows, least in (
        ('train', train, MIN_TRAIN_ROWS),
        ('val', val, MIN_VAL_ROWS),
    ):
        if len(rows) < least:
            return f'{len(rows)} rows in split {name}, of at least {least}'
    values, counts = np.unique(train, return_counts=True)
    share = counts.max() / len(train)
    if share > _MAX_SHARE:
        return f'{share:.1%} of the train labels are equal'
    if cell_type != CellType.BOOLEAN and len(values) < 3:
        return f'{len(values)} distinct train labels, of at least 3'
    if len(np.unique(val)) < 2:
        return 'all val labels are equal'
    return None


def bounded_rows(
    frame: pd.DataFrame, max_rows: int, rank: NDArray[np.int64]
) -> pd.DataFrame:
    r"""The rows of the first entities by rank, at most :obj:`max_rows` of each
    split, so that entities keep all of their labels.

    Args:
        frame: Columns :obj:`entity` and :obj:`split`.
        max_rows: The most rows of a split.
        rank: :obj:`[entities]` in which order entities are taken.
    """
    keep: NDArray[np.bool_] = np.zeros(len(frame), dtype=bool)
    entity, split = frame['entity'].to_numpy(), frame['split'].to_numpy()
    for name in np.unique(split):
        rows = np.flatnonzero(split == name)
        order = rows[np.argsort(rank[entity[rows]], kind='stable')]
        sizes = np.bincount(rank[entity[rows]], minlength=len(rank))
        keep[order] = np.cumsum(sizes)[rank[entity[order]]] <= max_rows
    return frame[keep].reset_index(drop=True)
