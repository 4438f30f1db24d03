r"""Compiled sampling of a batch: contexts, one after another, as flat arrays."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.store_arrays import (
    KIND_BOOLEAN,
    KIND_DATETIME,
    KIND_NUMBER,
)
from torch_geometric_rfm.sampler.kernels import (
    SECONDS_PER_DAY,
    expand,
    reset,
    table_of,
)
from torch_geometric_rfm.sampler.random_stream import stream_state
from torch_geometric_rfm.sampler.row_set import position

_DATETIME = int(CellType.DATETIME)


class Output(NamedTuple):
    r"""Flat arrays of a batch, filled up to :obj:`size`: cells, rows and links."""

    value: NDArray[np.float32]
    relative_time: NDArray[np.float32]
    string: NDArray[np.int64]
    cell_type: NDArray[np.int64]
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    row_time: NDArray[np.int64]
    row_table: NDArray[np.int64]
    row_index: NDArray[np.int64]
    child: NDArray[np.int64]
    parent: NDArray[np.int64]
    fkey_type: NDArray[np.int64]
    ptr: NDArray[np.int64]  # [contexts + 1] first cell
    row_ptr: NDArray[np.int64]  # [contexts + 1] first row
    size: NDArray[np.int64]  # cells, rows, links


class Limits(NamedTuple):
    r"""How large contexts may become, and how cells of labels share them."""

    num_cells: int
    own_label_cells: int
    other_label_cells: int
    uniform: bool
    strict: bool


@njit(cache=True, nogil=True)
def _relative(seconds, seed_time):
    days = np.float64(seconds - seed_time) / SECONDS_PER_DAY
    return np.sign(days) * np.log1p(np.abs(days))


@njit(cache=True, nogil=True)
def _put(out, value, relative, string, cell_type, column):
    at = out.size[0]
    out.value[at] = value
    out.relative_time[at] = relative
    out.string[at] = string
    out.cell_type[at] = cell_type
    out.column[at] = column
    out.row[at] = out.size[1]
    out.size[0] += 1


@njit(cache=True, nogil=True)
def _put_datetime(store, out, seconds, seed_time, column):
    score = (np.float64(seconds) - store.datetime_scale[0]) / store.datetime_scale[1]
    _put(out, score, _relative(seconds, seed_time), 0, _DATETIME, column)


@njit(cache=True, nogil=True)
def _end_row(out, time, table, index):
    at = out.size[1]
    out.row_time[at] = time
    out.row_table[at] = table
    out.row_index[at] = index
    out.size[1] += 1


@njit(cache=True, nogil=True)
def _put_row(store, hidden, out, row, seed_time, last_cell):
    table = table_of(store.table_start, row)
    local = row - store.table_start[table]
    for column in range(store.column_start[table], store.column_start[table + 1]):
        if out.size[0] >= last_cell:
            break
        if hidden[column]:
            continue
        kind = store.column_kind[column]
        slot = store.column_slot[column]
        cell_type = store.column_type[column]
        if kind == KIND_NUMBER or kind == KIND_BOOLEAN:
            at = store.number_start[table] + local * store.number_width[table] + slot
            value = store.numbers[at]
            if np.isnan(value):
                continue
            if kind == KIND_BOOLEAN:
                value = (value - store.column_mean[column]) / store.column_std[column]
            _put(out, value, 0.0, 0, cell_type, column)
        elif kind == KIND_DATETIME:
            at = (
                store.datetime_start[table] + local * store.datetime_width[table] + slot
            )
            if store.datetimes[at] != MISSING_TIME:
                _put_datetime(store, out, store.datetimes[at], seed_time, column)
        else:
            at = store.string_start[table] + local * store.string_width[table] + slot
            if store.strings[at] >= 0:
                _put(out, 0.0, 0.0, store.strings[at], cell_type, column)
    _end_row(out, store.row_time[row], table, local)


@njit(cache=True, nogil=True)
def _put_label(store, task, out, row, seed_time, is_seed, last_cell):
    label_column = len(store.column_kind)
    value = np.float32(0.0) if is_seed else task.value[row]
    _put(out, value, 0.0, 0, task.label_type, label_column)
    if out.size[0] < last_cell:
        _put_datetime(store, out, task.time[row], seed_time, label_column + 1)
    _end_row(out, task.time[row], task.table, row)


@njit(cache=True, nogil=True)
def _link(out, child, parent, fkey):
    at = out.size[2]
    out.child[at] = child
    out.parent[at] = parent
    out.fkey_type[at] = fkey
    out.size[2] += 1


@njit(cache=True, nogil=True)
def _num_labels_known(task, rows, first, last, until):
    # Known labels of a time-sorted range: before `until`, and their window over.
    limit = min(until - 1, until - task.horizon)
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if task.time[rows[middle]] <= limit:
            low = middle + 1
        else:
            high = middle
    return low - first


@njit(cache=True, nogil=True)
def _label_link(store, work, task, out, row, base, first_row):
    at = position(work.keys, work.values, task.entity[row])
    if at >= 0:
        _link(out, base, first_row + at, len(store.fkey_parent))


@njit(cache=True, nogil=True)
def sample_batch(
    store, task, limits, num_neighbors, work, seeds, is_task, until, times, keys, out
):
    r"""Samples a context for each seed.

    Args:
        store: :class:`StoreArrays`.
        task: :class:`TaskArrays`.
        limits: :class:`Limits`.
        num_neighbors: :obj:`[fkeys]` children a foreign key, -1 for all.
        work: :class:`Frontier`.
        seeds: :obj:`[B]` rows of the task table, or of the store.
        is_task: Whether they are rows of the task table.
        until: :obj:`[B]` up to when each may look.
        times: :obj:`[B]` its own time.
        keys: :obj:`[B, 3]` seed, epoch and input id of the random streams.
        out: :class:`Output`.
    """
    counts = np.zeros(4, dtype=np.int64)
    state = np.zeros(1, dtype=np.uint64)
    labels = np.empty(limits.num_cells + 1, dtype=np.int64)
    for b in range(len(seeds)):
        seed, seed_time, limit = seeds[b], times[b], until[b]
        row_limit = limit - 1 if limits.strict else limit
        state[0] = stream_state(keys[b, 0], keys[b, 1], keys[b, 2])
        last_cell = out.size[0] + limits.num_cells
        start = task.entity[seed] if is_task else seed
        num_labels, label_cells = 0, 0
        own_first = own_known = 0
        if is_task:
            local = start - task.first_entity
            own_first = task.own_start[local]
            own_last = task.own_start[local + 1]
            own_known = _num_labels_known(
                task, task.own_row, own_first, own_last, limit
            )
            label_cells = 2
            taken = min(own_known, limits.own_label_cells // 2)
            for i in range(taken):
                labels[num_labels] = task.own_row[own_first + own_known - 1 - i]
                num_labels += 1
            known = _num_labels_known(
                task, task.label_row, 0, len(task.label_row), limit
            )
            others = limits.other_label_cells // 2
            at = known - 1
            while others > 0 and at >= 0:
                row = task.label_row[at]
                if task.entity[row] != start:
                    labels[num_labels] = row
                    num_labels += 1
                    others -= 1
                at -= 1
            label_cells += 2 * num_labels
        expand(
            store,
            task.hidden,
            num_neighbors,
            limits.uniform,
            row_limit,
            work,
            counts,
            start,
            limits.num_cells - label_cells,
            state,
        )
        if is_task and counts[2] + label_cells < limits.num_cells:
            # The database had no more to give: further labels of the entity.
            taken = min(own_known, limits.own_label_cells // 2)
            while taken < own_known and counts[2] + label_cells + 2 <= limits.num_cells:
                labels[num_labels] = task.own_row[own_first + own_known - 1 - taken]
                num_labels += 1
                taken += 1
                label_cells += 2
        seed_row = out.size[1]
        first_row = seed_row
        if is_task:
            _put_label(store, task, out, seed, seed_time, True, last_cell)
            first_row += 1 + num_labels
            _label_link(store, work, task, out, seed, seed_row, first_row)
            for i in range(num_labels):
                row = labels[i]
                _label_link(store, work, task, out, row, seed_row + 1 + i, first_row)
                _put_label(store, task, out, row, seed_time, False, last_cell)
        for i in range(counts[0]):
            row = work.rows[i]
            table = table_of(store.table_start, row)
            local = row - store.table_start[table]
            first_fkey = store.fkey_start[table]
            width = store.fkey_start[table + 1] - first_fkey
            for k in range(width):
                parent = store.parents[store.parent_start[table] + local * width + k]
                if parent >= 0:
                    at = position(work.keys, work.values, parent)
                    if at >= 0:
                        _link(out, first_row + i, first_row + at, first_fkey + k)
            _put_row(store, task.hidden, out, row, seed_time, last_cell)
        out.ptr[b + 1] = out.size[0]
        out.row_ptr[b + 1] = out.size[1]
        reset(work, counts)
