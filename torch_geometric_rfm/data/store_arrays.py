r"""The arrays of a store, laid out for compiled code."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.raw_table import MISSING_TIME, RawTable

ALWAYS = np.iinfo(np.int64).min
r"""Row time of undated tables: before any other."""
NEVER = np.iinfo(np.int64).max
r"""Row time of a row without a time in a dated table: after any other."""

KIND_NUMBER, KIND_BOOLEAN, KIND_DATETIME, KIND_STRING = range(4)


class StoreArrays(NamedTuple):
    r"""Rows, keys and cells of a database.

    Rows of all tables are numbered through. Row-major blocks hold the cells of
    a table by kind; children of a parent lie in time order.
    """

    table_start: NDArray[Any]  # [tables + 1] first row
    row_time: NDArray[Any]  # [rows]
    fkey_start: NDArray[Any]  # [tables + 1] first foreign key
    parent_start: NDArray[Any]  # [tables] offset of its block in `parents`
    parents: NDArray[Any]  # row-major [rows of table, fkeys of table]
    fkey_parent: NDArray[Any]  # [fkeys] parent table
    fkey_child: NDArray[Any]  # [fkeys] child table
    incoming_start: NDArray[Any]  # [tables + 1] into `incoming`
    incoming: NDArray[Any]  # foreign keys that lead to a table
    child_start: NDArray[Any]  # [fkeys] offset into `child_row`
    child_ptr_start: NDArray[Any]  # [fkeys] offset into `child_ptr`
    child_ptr: NDArray[Any]  # per fkey [parent rows + 1]
    child_row: NDArray[Any]  # rows, by parent and time
    column_start: NDArray[Any]  # [tables + 1] first column
    column_kind: NDArray[Any]  # [columns]
    column_slot: NDArray[Any]  # [columns] place in the block of its kind
    column_type: NDArray[Any]  # [columns] CellType
    column_mean: NDArray[Any]  # [columns] of booleans
    column_std: NDArray[Any]  # [columns] of booleans
    number_start: NDArray[Any]
    number_width: NDArray[Any]
    numbers: NDArray[Any]  # float32, numbers normalised, booleans 0 and 1
    datetime_start: NDArray[Any]
    datetime_width: NDArray[Any]
    datetimes: NDArray[Any]  # int64 unix seconds
    string_start: NDArray[Any]
    string_width: NDArray[Any]
    strings: NDArray[Any]  # int32 index of the string, -1 where missing
    datetime_scale: NDArray[Any]  # [2] mean and standard deviation


def row_times(tables: list[RawTable]) -> NDArray[np.int64]:
    r"""Time of every row, :obj:`ALWAYS` or :obj:`NEVER` where it has none."""
    times = []
    for table in tables:
        if table.time is None:
            times.append(np.full(table.num_rows, ALWAYS, dtype=np.int64))
        else:
            times.append(np.where(table.time == MISSING_TIME, NEVER, table.time))
    return np.concatenate(times)


def index_type(num_rows: int) -> type:
    r"""The integer type of row ids: 32 bits below :math:`2^{31}` rows."""
    return np.int32 if num_rows < 2**31 else np.int64


def build_key_arrays(
    tables: list[RawTable], table_start: NDArray[Any], row_time: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    r"""Parents as one matrix a table, children as one time-sorted CSR a key."""
    from torch_geometric_rfm.data.group_rows import group_rows

    dtype = index_type(len(row_time))
    number = {table.name: i for i, table in enumerate(tables)}
    parents: list[NDArray[Any]] = []
    child_ptr: list[NDArray[Any]] = []
    child_row: list[NDArray[Any]] = []
    fkey_start, fkey_parent, fkey_child = [0], list[int](), list[int]()
    parent_start, child_start, child_ptr_start = list[int](), list[int](), list[int]()
    incoming: list[list[int]] = [[] for _ in tables]
    parent_offset = child_offset = ptr_offset = 0
    for t, table in enumerate(tables):
        block: NDArray[Any] = np.full(
            (table.num_rows, len(table.parents)), -1, dtype=dtype
        )
        order = _time_order(row_time[table_start[t] : table_start[t + 1]], dtype)
        for k, (parent, position) in enumerate(table.parents.values()):
            p = number[parent]
            present = position >= 0
            block[present, k] = position[present] + table_start[p]
            ptr: NDArray[Any] = np.zeros(tables[p].num_rows + 1, dtype=dtype)
            child: NDArray[Any] = np.empty(np.count_nonzero(present), dtype=dtype)
            group_rows(order, position, table_start[t], ptr, child)
            incoming[p].append(len(fkey_parent))
            fkey_parent.append(p)
            fkey_child.append(t)
            child_start.append(child_offset)
            child_ptr_start.append(ptr_offset)
            child_ptr.append(ptr)
            child_row.append(child)
            child_offset += child.size
            ptr_offset += ptr.size
        parent_start.append(parent_offset)
        parents.append(block.ravel())
        parent_offset += block.size
        fkey_start.append(len(fkey_parent))
    return {
        'fkey_start': np.array(fkey_start, dtype=np.int64),
        'parent_start': np.array(parent_start, dtype=np.int64),
        'parents': _concatenate(parents, dtype),
        'fkey_parent': np.array(fkey_parent, dtype=np.int64),
        'fkey_child': np.array(fkey_child, dtype=np.int64),
        'incoming_start': np.cumsum([0, *map(len, incoming)]).astype(np.int64),
        'incoming': np.array([k for keys in incoming for k in keys], dtype=np.int64),
        'child_start': np.array(child_start, dtype=np.int64),
        'child_ptr_start': np.array(child_ptr_start, dtype=np.int64),
        'child_ptr': _concatenate(child_ptr, dtype),
        'child_row': _concatenate(child_row, dtype),
    }


def _time_order(time: NDArray[Any], dtype: Any) -> NDArray[Any]:
    if (time[1:] >= time[:-1]).all():
        return np.arange(len(time), dtype=dtype)
    return np.argsort(time, kind='stable').astype(dtype)


def _concatenate(arrays: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=dtype), *arrays]).astype(dtype)


def kind_of(cell_type: CellType) -> int:
    r"""The block in which cells of a type are kept."""
    if cell_type.is_string:
        return KIND_STRING
    return int(cell_type)
