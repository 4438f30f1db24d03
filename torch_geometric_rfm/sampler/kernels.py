r"""The compiled visit of rows: each row once, and all its parents with it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.store_arrays import (
    KIND_BOOLEAN,
    KIND_DATETIME,
    KIND_NUMBER,
)
from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.row_set import capacity_for, find

SECONDS_PER_DAY = 86_400.0

BLOCK = 16
r"""Rows that are visited in one go, so that their memory is fetched side by side."""

ROWS, CELLS, DEPTH, MOVED, TOUCHED = range(5)
r"""What is counted of a context: its rows and cells, the deepest depth that has rows
to expand, what shuffles moved, and a sum of no meaning.
"""


class Frontier(NamedTuple):
    r"""Working memory of one context.

    Rows of equal depth whose children may join form a queue: :obj:`head` and
    :obj:`tail` by depth, :obj:`next_row` from each to the next, all as positions
    in :obj:`rows`. A group is the known children of a row over one foreign key;
    the groups of one depth are listed at a time.
    """

    keys: NDArray[np.int64]  # hash set of rows
    values: NDArray[np.int64]  # and their positions
    rows: NDArray[np.int64]  # visited rows in order
    tables: NDArray[np.int64]  # the tables that hold them
    slots: NDArray[np.int64]  # their slots in the hash set
    label_keys: NDArray[np.int64]  # hash set of labels
    labels: NDArray[np.int64]  # and the labels in order
    stack_row: NDArray[np.int64]  # parents still to visit
    stack_table: NDArray[np.int64]
    stack_depth: NDArray[np.int64]
    pending_row: NDArray[np.int64]  # [BLOCK] rows about to be visited
    pending_table: NDArray[np.int64]
    pending_child: NDArray[np.int64]  # where they stand among the children
    near_row: NDArray[np.int64]  # and their parents
    near_table: NDArray[np.int64]
    head: NDArray[np.int64]  # [depths] first row, -1 if none
    tail: NDArray[np.int64]
    next_row: NDArray[np.int64]
    group_first: NDArray[np.int64]  # where its children start
    group_known: NDArray[np.int64]  # how many of them are known
    group_limit: NDArray[np.int64]  # how many may be drawn
    group_drawn: NDArray[np.int64]  # how many were drawn
    group_table: NDArray[np.int64]  # the table of the children
    group_turn: NDArray[np.int64]  # groups in turn, or the sum of limits before each
    moved_keys: NDArray[np.int64]  # hash map of what shuffles moved
    moved_values: NDArray[np.int64]
    moved_slots: NDArray[np.int64]  # its slots in use


@compiled
def table_of(table_start, row):
    r"""Number of the table that holds a row."""
    low, high = 0, len(table_start) - 1
    while low + 1 < high:
        middle = (low + high) // 2
        if table_start[middle] <= row:
            low = middle
        else:
            high = middle
    return low


@compiled
def num_cells_of(store, hidden, row, table):
    r"""Number of present, visible cells of a row."""
    local = row - store.table_start[table]
    number = store.number_start[table] + local * store.number_width[table]
    datetime = store.datetime_start[table] + local * store.datetime_width[table]
    string = store.string_start[table] + local * store.string_width[table]
    count = 0
    for column in range(store.column_start[table], store.column_start[table + 1]):
        if hidden[column]:
            continue
        kind = store.column_kind[column]
        slot = store.column_slot[column]
        if kind == KIND_NUMBER or kind == KIND_BOOLEAN:
            count += not np.isnan(store.numbers[number + slot])
        elif kind == KIND_DATETIME:
            count += store.datetimes[datetime + slot] != MISSING_TIME
        else:
            count += store.strings[string + slot] >= 0
    return count


@compiled
def first_too_large(store, hidden, rows, num_cells):
    r"""Cells of the first row that has more than :obj:`num_cells`, 0 if none."""
    for row in rows:
        size = num_cells_of(store, hidden, row, table_of(store.table_start, row))
        if size > num_cells:
            return size
    return 0


@compiled
def _touch(store, row, table):
    # Reads a little of all that a visit will read. The reads do not wait for each
    # other, as those of visits do; the sum keeps the compiler from dropping them.
    local = row - store.table_start[table]
    total = store.row_time[row] & 1
    if store.number_width[table] > 0:
        at = store.number_start[table] + local * store.number_width[table]
        total += store.numbers[at] > 0
    if store.datetime_width[table] > 0:
        at = store.datetime_start[table] + local * store.datetime_width[table]
        total += store.datetimes[at] & 1
    if store.string_width[table] > 0:
        at = store.string_start[table] + local * store.string_width[table]
        total += store.strings[at] & 1
    width = store.fkey_start[table + 1] - store.fkey_start[table]
    if width > 0:
        total += store.parents[store.parent_start[table] + local * width] & 1
    return total


@compiled
def _touch_pending(store, work, counts, num_pending):
    near = 0
    total = np.int64(0)
    for i in range(num_pending):
        row, table = work.pending_row[i], work.pending_table[i]
        total += _touch(store, row, table)
        first_fkey = store.fkey_start[table]
        width = store.fkey_start[table + 1] - first_fkey
        first = store.parent_start[table] + (row - store.table_start[table]) * width
        for k in range(width):
            parent = store.parents[first + k]
            if parent >= 0:
                work.near_row[near] = parent
                work.near_table[near] = store.fkey_parent[first_fkey + k]
                near += 1
    for i in range(near):
        total += _touch(store, work.near_row[i], work.near_table[i])
    counts[TOUCHED] += total


@compiled
def visit(
    store, hidden, until, work, counts, num_pending, depth, max_cells, with_children
):
    r"""Takes the pending rows in turn, each with all its parents, and queues them
    for the children that may join.

    Returns whether there was room for all of them.
    """
    if num_pending > 1:
        _touch_pending(store, work, counts, num_pending)
    for i in range(num_pending):
        if counts[CELLS] >= max_cells or counts[ROWS] >= len(work.rows):
            return False
        work.stack_row[0], work.stack_depth[0] = work.pending_row[i], depth
        work.stack_table[0] = work.pending_table[i]
        top = 0
        while top >= 0:
            row, below = work.stack_row[top], work.stack_depth[top]
            table = work.stack_table[top]
            top -= 1
            slot = find(work.keys, row)
            if work.keys[slot] == row:
                continue
            at = counts[ROWS]
            if at >= len(work.rows):
                return False
            work.keys[slot], work.values[slot] = row, at
            work.rows[at], work.tables[at], work.slots[at] = row, table, slot
            counts[ROWS] += 1
            counts[CELLS] += num_cells_of(store, hidden, row, table)
            if with_children:
                work.next_row[at] = -1
                if work.head[below] < 0:
                    work.head[below] = at
                    counts[DEPTH] = max(counts[DEPTH], below)
                else:
                    work.next_row[work.tail[below]] = at
                work.tail[below] = at
            first_fkey = store.fkey_start[table]
            width = store.fkey_start[table + 1] - first_fkey
            first = store.parent_start[table] + (row - store.table_start[table]) * width
            for k in range(width - 1, -1, -1):
                parent = store.parents[first + k]
                if parent >= 0 and store.row_time[parent] <= until:
                    top += 1
                    work.stack_row[top] = parent
                    work.stack_table[top] = store.fkey_parent[first_fkey + k]
                    work.stack_depth[top] = below + 1
    return True


def new_frontier(max_rows: int, max_incoming: int, max_parents: int) -> Frontier:
    r"""Working memory for contexts of up to :obj:`max_rows` rows.

    A row brings at most :obj:`max_incoming` groups and :obj:`max_parents`
    parents, and is the child of at most as many, so nothing here can overflow.
    """
    capacity = capacity_for(max_rows)
    groups = max_rows * max_incoming + 1
    stack = max_rows * max(1, max_parents) + 2
    # Whoever is drawn is visited, but for the last block; a draw moves two things.
    moved = 2 * (max_rows * max(1, max_parents) + BLOCK)

    def make(size: int, fill: int = 0) -> NDArray[np.int64]:
        return np.full(size, fill, dtype=np.int64)

    return Frontier(
        keys=make(capacity, -1),
        values=make(capacity),
        rows=make(max_rows),
        tables=make(max_rows),
        slots=make(max_rows),
        label_keys=make(capacity, -1),
        labels=make(max_rows),
        stack_row=make(stack),
        stack_table=make(stack),
        stack_depth=make(stack),
        pending_row=make(BLOCK),
        pending_table=make(BLOCK),
        pending_child=make(BLOCK),
        near_row=make(BLOCK * max(1, max_parents)),
        near_table=make(BLOCK * max(1, max_parents)),
        head=make(max_rows + 2, -1),
        tail=make(max_rows + 2, -1),
        next_row=make(max_rows),
        group_first=make(groups),
        group_known=make(groups),
        group_limit=make(groups),
        group_drawn=make(groups),
        group_table=make(groups),
        group_turn=make(groups),
        moved_keys=make(capacity_for(moved), -1),
        moved_values=make(capacity_for(moved)),
        moved_slots=make(moved),
    )


@compiled
def reset(work, counts):
    r"""Empties the working memory at a cost of what was used."""
    for i in range(counts[ROWS]):
        work.keys[work.slots[i]] = -1
    for i in range(counts[MOVED]):
        work.moved_keys[work.moved_slots[i]] = -1
    for depth in range(counts[DEPTH] + 1):
        work.head[depth] = -1
    counts[:] = 0
