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
from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.expansion import expand
from torch_geometric_rfm.sampler.kernels import (
    CELLS,
    ROWS,
    SECONDS_PER_DAY,
    reset,
    table_of,
    visit,
)
from torch_geometric_rfm.sampler.labels import (
    LABEL_CELLS,
    draw_labels,
    fill_with_own_labels,
    forget_labels,
)
from torch_geometric_rfm.sampler.random_stream import stream_state
from torch_geometric_rfm.sampler.row_set import find, position

_DATETIME, _NUMBER = int(CellType.DATETIME), int(CellType.NUMBER)


class Limits(NamedTuple):
    r"""How large contexts may become, and how their cells are shared."""

    num_cells: int
    uniform: bool
    strict: bool
    num_neighbors: NDArray[np.int64]  # [fkeys] children a foreign key, -1 for all
    label_kind: NDArray[np.int64]  # [policies]
    label_cells: NDArray[np.int64]  # [policies] cells at most
    fill: bool  # whether own labels take the cells that are left


@compiled
def _relative(seconds, seed_time):
    days = np.float64(seconds - seed_time) / SECONDS_PER_DAY
    return np.sign(days) * np.log1p(np.abs(days))


@compiled
def _put(out, at, value, relative, string, cell_type, column, row, context):
    out.value[at] = value
    out.relative_time[at] = relative
    out.string[at] = string
    out.cell_type[at] = cell_type
    out.column[at] = column
    out.row[at] = row
    out.batch[at] = context


@compiled
def _put_rows(store, hidden, work, counts, out, seed_time, at, last_cell, number):
    # Visited rows as rows from `number` and cells from `at` on; returns where the
    # cells end. One call for all: passing this many arrays is what costs.
    context = out.size[3]
    mean, scale = store.datetime_scale[0], store.datetime_scale[1]
    for i in range(counts[ROWS]):
        row, table = work.rows[i], work.tables[i]
        local = row - store.table_start[table]
        numbers = store.number_start[table] + local * store.number_width[table]
        datetimes = store.datetime_start[table] + local * store.datetime_width[table]
        strings = store.string_start[table] + local * store.string_width[table]
        for column in range(store.column_start[table], store.column_start[table + 1]):
            if at >= last_cell:
                break
            if hidden[column]:
                continue
            kind = store.column_kind[column]
            slot = store.column_slot[column]
            value, relative, string = 0.0, 0.0, np.int64(0)
            if kind == KIND_NUMBER or kind == KIND_BOOLEAN:
                value = np.float64(store.numbers[numbers + slot])
                if np.isnan(value):
                    continue
                if kind == KIND_BOOLEAN:
                    value -= store.column_mean[column]
                    value /= store.column_std[column]
            elif kind == KIND_DATETIME:
                time = store.datetimes[datetimes + slot]
                if time == MISSING_TIME:
                    continue
                value = (np.float64(time) - mean) / scale
                relative = _relative(time, seed_time)
            else:
                string = np.int64(store.strings[strings + slot])
                if string < 0:
                    continue
            out.value[at] = value
            out.relative_time[at] = relative
            out.string[at] = string
            out.cell_type[at] = store.column_type[column]
            out.column[at] = column
            out.row[at] = number + i
            out.batch[at] = context
            at += 1
        out.row_time[number + i] = store.row_time[row]
        out.row_table[number + i] = table
        out.row_index[number + i] = local
    return at


@compiled
def _put_label(
    store, task, out, label, seed_time, is_seed, at, last_cell, number, context
):
    column = len(store.column_kind)
    value, string = task.value[label], task.string[label]
    if is_seed:
        value, string = np.float32(0.0), np.int64(0)
    _put(out, at, value, 0.0, string, task.label_type, column, number, context)
    at += 1
    time = task.time[label]
    if at < last_cell:
        score = (np.float64(time) - store.datetime_scale[0]) / store.datetime_scale[1]
        relative = _relative(time, seed_time)
        _put(out, at, score, relative, 0, _DATETIME, column + 1, number, context)
        at += 1
    out.row_time[number] = time
    out.row_table[number] = task.table
    out.row_index[number] = label
    return at


@compiled
def _put_history(store, history, b, out, at, last_cell, number, context):
    # The summaries of a seed's entity, in columns after those of the task table.
    first = len(store.column_kind) + LABEL_CELLS
    for k in range(history.shape[1]):
        value = history[b, k]
        if at < last_cell and not np.isnan(value):
            _put(out, at, value, 0.0, 0, _NUMBER, first + k, number, context)
            at += 1
    return at


@compiled
def _put_links(store, work, counts, out, first_row, end):
    # Links of the visited rows to visited parents; returns where they end.
    for i in range(counts[ROWS]):
        row, table = work.rows[i], work.tables[i]
        first_fkey = store.fkey_start[table]
        width = store.fkey_start[table + 1] - first_fkey
        local = row - store.table_start[table]
        first = store.parent_start[table] + local * width
        for k in range(width):
            parent = store.parents[first + k]
            if parent >= 0:
                place = position(work.keys, work.values, parent)
                if place >= 0:
                    out.child[end] = first_row + i
                    out.parent[end] = first_row + place
                    out.fkey_type[end] = first_fkey + k
                    end += 1
    return end


@compiled
def emit_context(
    store,
    task,
    is_task,
    work,
    counts,
    seed,
    labels,
    num_labels,
    seed_time,
    limits,
    history,
    b,
    out,
):
    r"""Appends a context to the output: the seed, number :obj:`b` of the batch, with
    its history, labels, and visited rows.
    """
    at, number, end = out.size[0], out.size[1], out.size[2]
    context = out.size[3]
    last_cell = at + limits.num_cells
    if is_task:
        first_row = number + 1 + num_labels
        for i in range(-1, num_labels):
            label = seed if i < 0 else labels[i]
            place = position(work.keys, work.values, task.entity[label])
            if place >= 0:
                out.child[end] = number
                out.parent[end] = first_row + place
                out.fkey_type[end] = len(store.fkey_parent)
                end += 1
            at = _put_label(
                store,
                task,
                out,
                label,
                seed_time,
                i < 0,
                at,
                last_cell,
                number,
                context,
            )
            if i < 0:
                at = _put_history(
                    store, history, b, out, at, last_cell, number, context
                )
            number += 1
    end = _put_links(store, work, counts, out, number, end)
    at = _put_rows(
        store, task.hidden, work, counts, out, seed_time, at, last_cell, number
    )
    number += counts[ROWS]
    out.size[0], out.size[1], out.size[2], out.size[3] = at, number, end, context + 1
    out.ptr[context + 1] = at
    out.row_ptr[context + 1] = number


@njit(cache=True, nogil=True)
def sample_batch(
    store, task, limits, work, seeds, is_task, until, times, keys, history, out
):
    r"""Samples a context for each seed.

    Args:
        store: :class:`StoreArrays`.
        task: :class:`TaskArrays`.
        limits: :class:`Limits`.
        work: :class:`Frontier`.
        seeds: :obj:`[B]` rows of the task table, or of the store.
        is_task: Whether they are rows of the task table.
        until: :obj:`[B]` up to when each may look.
        times: :obj:`[B]` its own time.
        keys: :obj:`[B, 3]` seed, epoch and input id of the random streams.
        history: :obj:`[B, H]` further cells of the row of each seed, NaN for none.
        out: :class:`Output`.
    """
    counts = np.zeros(5, dtype=np.int64)
    state = np.zeros(1, dtype=np.uint64)
    for b in range(len(seeds)):
        seed, limit = seeds[b], until[b]
        row_limit = limit - 1 if limits.strict else limit
        state[0] = stream_state(keys[b, 0], keys[b, 1], keys[b, 2])
        start = task.entity[seed] if is_task else seed
        if store.row_time[start] <= row_limit:
            work.pending_row[0] = start
            work.pending_table[0] = table_of(store.table_start, start)
            visit(
                store,
                task.hidden,
                row_limit,
                work,
                counts,
                1,
                0,
                limits.num_cells,
                True,
            )
        num_labels, room = 0, limits.num_cells
        for k in range(history.shape[1]):
            room -= not np.isnan(history[b, k])
        if is_task:
            num_labels = draw_labels(
                store, task, limits, work, counts, start, limit, row_limit, state
            )
        label_cells = LABEL_CELLS * (num_labels + 1) if is_task else 0
        expand(
            store,
            task.hidden,
            limits.num_neighbors,
            limits.uniform,
            row_limit,
            work,
            counts,
            room - label_cells,
            state,
        )
        if is_task and limits.fill:
            num_labels = fill_with_own_labels(
                task, work, start, limit, room - counts[CELLS], num_labels
            )
        emit_context(
            store,
            task,
            is_task,
            work,
            counts,
            seed,
            work.labels,
            num_labels,
            times[b],
            limits,
            history,
            b,
            out,
        )
        reset(work, counts)
        forget_labels(work, num_labels)


@compiled
def shift_chunk(out, chunk, in_place):
    r"""Appends the chunk of another thread to the output. It lies in the same
    memory, behind the end of the output or, :obj:`in_place`, right there.
    """
    cells, rows, links, contexts = out.size[0], out.size[1], out.size[2], out.size[3]
    for i in range(chunk.size[0]):
        out.row[cells + i] = chunk.row[i] + rows
        out.batch[cells + i] = chunk.batch[i] + contexts
    if not in_place:
        for i in range(chunk.size[0]):
            out.value[cells + i] = chunk.value[i]
            out.relative_time[cells + i] = chunk.relative_time[i]
            out.string[cells + i] = chunk.string[i]
            out.cell_type[cells + i] = chunk.cell_type[i]
            out.column[cells + i] = chunk.column[i]
    for i in range(chunk.size[1]):
        out.row_time[rows + i] = chunk.row_time[i]
        out.row_table[rows + i] = chunk.row_table[i]
        out.row_index[rows + i] = chunk.row_index[i]
    for i in range(chunk.size[2]):
        out.child[links + i] = chunk.child[i] + rows
        out.parent[links + i] = chunk.parent[i] + rows
        out.fkey_type[links + i] = chunk.fkey_type[i]
    for i in range(1, chunk.size[3] + 1):
        out.ptr[contexts + i] = chunk.ptr[i] + cells
        out.row_ptr[contexts + i] = chunk.row_ptr[i] + rows
    for i in range(len(out.size)):
        out.size[i] += chunk.size[i]


@compiled
def number_strings(string, keys, values, unique):
    r"""Numbers the strings of a batch by first appearance, in place.

    Args:
        string: :obj:`[N]` strings of the store, 0 for cells that are none.
        keys: An empty :mod:`row_set` with room for all.
        values: The values of its slots.
        unique: The strings by their numbers; 0 stays 0.

    Returns:
        How many there are.
    """
    count = 1
    for i in range(len(string)):
        if string[i] == 0:
            continue
        slot = find(keys, string[i])
        if keys[slot] == -1:
            keys[slot], values[slot] = string[i], count
            unique[count] = string[i]
            count += 1
        string[i] = values[slot]
    return count
