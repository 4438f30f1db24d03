import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.store_arrays import (
    KIND_BOOLEAN,
    KIND_DATETIME,
    KIND_STRING,
    NEVER,
)


def table_of_column(store: CellStore, column: int) -> int:
    r"""The table of a column of a store."""
    starts = store.arrays.column_start
    return int(np.searchsorted(starts, column, side='right')) - 1


def present_values(
    store: CellStore, column: int, rows: NDArray[np.int64]
) -> NDArray[np.float64 | np.int64]:
    r"""The values of a column in some rows of its table that are present and lie
    before the cutoff of the store: normalised numbers and booleans, unix seconds,
    or indices of strings.
    """
    arrays, cutoff = store.arrays, store.cutoff
    table = table_of_column(store, column)
    time = arrays.row_time[arrays.table_start[table] + rows]
    rows = rows[time < NEVER if cutoff is None else time <= cutoff]
    kind, slot = arrays.column_kind[column], arrays.column_slot[column]
    if kind == KIND_STRING:
        start, width = arrays.string_start[table], arrays.string_width[table]
        strings = arrays.strings[start + rows * width + slot]
        return strings[strings >= 0].astype(np.int64)
    if kind == KIND_DATETIME:
        start, width = arrays.datetime_start[table], arrays.datetime_width[table]
        seconds = arrays.datetimes[start + rows * width + slot]
        return seconds[seconds != MISSING_TIME]
    start, width = arrays.number_start[table], arrays.number_width[table]
    values = arrays.numbers[start + rows * width + slot].astype(np.float64)
    values = values[~np.isnan(values)]
    if kind == KIND_BOOLEAN:
        return (values - arrays.column_mean[column]) / arrays.column_std[column]
    return values
