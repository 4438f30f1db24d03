r"""Compiled summaries of all that is known of an entity: how many children it has, and
the means of their numbers.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from torch_geometric_rfm.data.store_arrays import KIND_BOOLEAN
from torch_geometric_rfm.sampler.expansion import num_known


class HistoryArrays(NamedTuple):
    r"""What is looked at: some cells of each foreign key to the entity's table, first
    the numbers of its children in each window, then the means of columns.
    """

    fkey: NDArray[np.int64]  # [fkeys]
    cell_start: NDArray[np.int64]  # [fkeys + 1] into the cells
    window: NDArray[np.int64]  # [cells] seconds, 0 for all time; -1 for a mean
    column: NDArray[np.int64]  # [cells] column of the store of a mean
    mean: NDArray[np.float64]  # [cells] over train rows
    std: NDArray[np.float64]  # [cells]
    length: int  # children whose numbers are averaged, the latest


@njit(cache=True, nogil=True)
def summarise(store, history, rows, until, out):
    r"""Fills :obj:`out` :obj:`[B, cells]` with the summaries of rows of the store, each
    up to its own time; NaN where there is nothing to average.
    """
    for b in range(len(rows)):
        for f in range(len(history.fkey)):
            k = history.fkey[f]
            table = store.fkey_child[k]
            local = rows[b] - store.table_start[store.fkey_parent[k]]
            ptr = store.child_ptr_start[k] + local
            first = store.child_start[k] + store.child_ptr[ptr]
            last = store.child_start[k] + store.child_ptr[ptr + 1]
            known = num_known(store.row_time, store.child_row, first, last, until[b])
            for cell in range(history.cell_start[f], history.cell_start[f + 1]):
                window = history.window[cell]
                if window >= 0:
                    count = known
                    if window > 0:
                        count -= num_known(
                            store.row_time,
                            store.child_row,
                            first,
                            last,
                            until[b] - window,
                        )
                    value = np.log1p(np.float64(count))
                else:
                    column = history.column[cell]
                    slot = store.column_slot[column]
                    total, count = 0.0, 0
                    start = max(0, known - history.length)
                    for i in range(first + start, first + known):
                        child = store.child_row[i] - store.table_start[table]
                        at = store.number_start[table]
                        at += child * store.number_width[table] + slot
                        x = np.float64(store.numbers[at])
                        if not np.isnan(x):
                            if store.column_kind[column] == KIND_BOOLEAN:
                                x -= store.column_mean[column]
                                x /= store.column_std[column]
                            total += x
                            count += 1
                    value = total / count if count else np.nan
                out[b, cell] = (value - history.mean[cell]) / history.std[cell]
