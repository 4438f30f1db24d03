r"""What the earlier rows of the same parent make of a row: running values."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Histories:
    r"""The rows of a dated table, by parent and in order of time.

    Rows of one parent and one time count in the order in which they stand.

    Args:
        parent: :obj:`[rows]` the parent of each row, -1 where null.
        time: :obj:`[rows]` their times; rows stand in that order.

    Example:
        >>> histories = Histories(np.array([0, 1, 0]), np.array([1.0, 2.0, 4.0]))
        >>> histories.previous(np.array([5.0, 6.0, 7.0]))
        array([nan, nan,  5.])
    """

    def __init__(self, parent: NDArray[np.int64], time: Array) -> None:
        self.time = time
        self.order = np.argsort(parent, kind='stable')
        sorted_parent = parent[self.order]
        first = np.ones(len(parent), dtype=bool)
        # Rows without a parent have no history.
        first[1:] = (sorted_parent[1:] != sorted_parent[:-1]) | (sorted_parent[1:] < 0)
        self._first = first
        self._start = np.maximum.accumulate(np.where(first, np.arange(len(parent)), 0))

    def previous(self, x: Array) -> Array:
        r"""The value of the row before, NaN where there is none."""
        ordered = x[self.order]
        before = np.concatenate([[np.nan], ordered[:-1]])
        before[self._first] = np.nan
        return self._restore(before)

    def count(self) -> Array:
        r"""The number of rows before."""
        number = np.arange(len(self._start)) - self._start
        return self._restore(number.astype(np.float64))

    def total(self, x: Array) -> Array:
        r"""The sum of the values of the rows before, missing ones left out."""
        ordered = np.nan_to_num(x[self.order])
        before = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])
        return self._restore(before - before[self._start])

    def gap(self) -> Array:
        r"""The time since the row before, NaN where there is none."""
        return self.time - self.previous(self.time)

    def _restore(self, ordered: Array) -> Array:
        out = np.empty(len(ordered))
        out[self.order] = ordered
        return out
