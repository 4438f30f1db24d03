r"""Compiled summaries of the children of rows, up to a time."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from torch_geometric_rfm.data.store_arrays import KIND_BOOLEAN
from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.expansion import num_known

MEAN = -1
r"""In place of a window: the mean of a column."""


class HistoryArrays(NamedTuple):
    r"""What is summarised, one cell after another, those of a foreign key together."""

    fkey: NDArray[np.int64]  # [fkeys] that lead to the rows
    cell_start: NDArray[np.int64]  # [fkeys + 1] first cell
    window: NDArray[np.int64]  # [cells] seconds of a count, 0 for all, or MEAN
    column: NDArray[np.int64]  # [cells] the column of a mean
    num_children: int  # the latest, over which means are taken


@compiled
def _mean(store, table, column, first, last):
    # Of the present values of children, as cells hold them; NaN without any.
    width, slot = store.number_width[table], store.column_slot[column]
    start = store.number_start[table] - store.table_start[table] * width + slot
    total, count = 0.0, 0
    for i in range(first, last):
        value = np.float64(store.numbers[start + store.child_row[i] * width])
        if not np.isnan(value):
            total += value
            count += 1
    if count == 0:
        return np.nan
    mean = total / count
    if store.column_kind[column] == KIND_BOOLEAN:
        mean = (mean - store.column_mean[column]) / store.column_std[column]
    return mean


@njit(cache=True, nogil=True)
def summarise(store, history, rows, until, out):
    r"""Summarises the children of rows that were known by then.

    Args:
        store: :class:`StoreArrays`.
        history: :class:`HistoryArrays`.
        rows: :obj:`[B]` rows of the store, of one table.
        until: :obj:`[B]` up to when each may look.
        out: :obj:`[B, cells]` filled with :math:`\log(1 + n)` for :math:`n` children,
            and with means, NaN without a value and of rows that are later.
    """
    for b in range(len(rows)):
        row, limit = rows[b], until[b]
        if store.row_time[row] > limit:
            out[b] = np.nan
            continue
        for f in range(len(history.fkey)):
            k = history.fkey[f]
            local = row - store.table_start[store.fkey_parent[k]]
            ptr = store.child_ptr_start[k] + local
            first = store.child_start[k] + store.child_ptr[ptr]
            end = store.child_start[k] + store.child_ptr[ptr + 1]
            known = num_known(store.row_time, store.child_row, first, end, limit)
            last = first + known
            for cell in range(history.cell_start[f], history.cell_start[f + 1]):
                window = history.window[cell]
                if window == MEAN:
                    start = max(first, last - history.num_children)
                    table, column = store.fkey_child[k], history.column[cell]
                    out[b, cell] = _mean(store, table, column, start, last)
                    continue
                count = known
                if window > 0:
                    count -= num_known(
                        store.row_time, store.child_row, first, last, limit - window
                    )
                out[b, cell] = np.log1p(np.float64(count))
