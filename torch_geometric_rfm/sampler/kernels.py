r"""The compiled expansion of contexts: which rows, then which cells.

From the seed row outwards: all parents of a visited row, and of its children
those that were known, at most :obj:`num_neighbors` a foreign key, the
shallowest parents first. Children are drawn only when their turn comes, so
that a context costs in proportion to its own size.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.store_arrays import (
    KIND_BOOLEAN,
    KIND_DATETIME,
    KIND_NUMBER,
)
from torch_geometric_rfm.sampler.random_stream import draw_below
from torch_geometric_rfm.sampler.row_set import capacity_for, find, position

SECONDS_PER_DAY = 86_400.0


class Frontier(NamedTuple):
    r"""Working memory of one context: visited rows and groups of children.

    A group is the known children of a row over one foreign key. Groups of
    equal depth form a queue: :obj:`head` and :obj:`tail` by depth,
    :obj:`next_group` from each to the next.
    """

    keys: NDArray[np.int64]  # hash set of rows
    values: NDArray[np.int64]
    rows: NDArray[np.int64]  # visited rows in order
    tables: NDArray[np.int64]  # and the tables that hold them
    label_keys: NDArray[np.int64]  # hash set of labels
    labels: NDArray[np.int64]  # and the labels in order
    stack_row: NDArray[np.int64]  # parents still to visit
    stack_depth: NDArray[np.int64]
    head: NDArray[np.int64]  # [depths] first group, -1 if none
    tail: NDArray[np.int64]
    next_group: NDArray[np.int64]
    group_first: NDArray[np.int64]  # where its children start
    group_known: NDArray[np.int64]  # how many of them are known
    group_limit: NDArray[np.int64]  # how many may be drawn
    group_drawn: NDArray[np.int64]  # how many were drawn


@njit(cache=True, nogil=True)
def num_known(row_time, child_row, first, last, until):
    r"""How many children of a time-sorted range have a time up to :obj:`until`."""
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if row_time[child_row[middle]] <= until:
            low = middle + 1
        else:
            high = middle
    return low - first


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def first_too_large(store, hidden, rows, num_cells):
    r"""Cells of the first row that has more than :obj:`num_cells`, 0 if none."""
    for row in rows:
        size = num_cells_of(store, hidden, row, table_of(store.table_start, row))
        if size > num_cells:
            return size
    return 0


@njit(cache=True, nogil=True)
def visit(store, hidden, num_neighbors, until, work, counts, row, depth, with_children):
    r"""Takes a row and all its parents, and queues groups of their children.

    :obj:`counts` holds the number of rows, groups and cells, and the deepest
    depth that has a group.
    """
    top = 0
    work.stack_row[0], work.stack_depth[0] = row, depth
    while top >= 0:
        row, depth = work.stack_row[top], work.stack_depth[top]
        top -= 1
        if counts[0] >= len(work.rows):
            return
        slot = find(work.keys, row)
        if work.keys[slot] == row:
            continue
        work.keys[slot], work.values[slot] = row, counts[0]
        table = table_of(store.table_start, row)
        work.rows[counts[0]] = row
        work.tables[counts[0]] = table
        counts[0] += 1
        counts[2] += num_cells_of(store, hidden, row, table)
        local = row - store.table_start[table]
        if with_children:
            _push_groups(store, num_neighbors, until, work, counts, table, local, depth)
        width = store.fkey_start[table + 1] - store.fkey_start[table]
        first = store.parent_start[table] + local * width
        for k in range(width - 1, -1, -1):
            parent = store.parents[first + k]
            if parent >= 0 and store.row_time[parent] <= until:
                if position(work.keys, work.values, parent) < 0:
                    top += 1
                    work.stack_row[top] = parent
                    work.stack_depth[top] = depth + 1


@njit(cache=True, nogil=True)
def _push_groups(store, num_neighbors, until, work, counts, table, local, depth):
    for i in range(store.incoming_start[table], store.incoming_start[table + 1]):
        k = store.incoming[i]
        if num_neighbors[k] == 0:
            continue
        at = store.child_ptr_start[k] + local
        first = store.child_start[k] + store.child_ptr[at]
        last = store.child_start[k] + store.child_ptr[at + 1]
        known = num_known(store.row_time, store.child_row, first, last, until)
        if known == 0:
            continue
        group = counts[1]
        work.group_first[group] = first
        work.group_known[group] = known
        # More than the rows of a context are never drawn.
        limit = len(work.rows) if num_neighbors[k] < 0 else num_neighbors[k]
        work.group_limit[group] = min(known, limit, len(work.rows))
        work.group_drawn[group] = 0
        _append(work, group, depth)
        counts[1] += 1
        counts[3] = max(counts[3], depth)


@njit(cache=True, nogil=True)
def _append(work, group, depth):
    work.next_group[group] = -1
    if work.head[depth] < 0:
        work.head[depth] = group
    else:
        work.next_group[work.tail[depth]] = group
    work.tail[depth] = group


@njit(cache=True, nogil=True)
def expand_last(store, hidden, num_neighbors, until, work, counts, max_cells):
    r"""Draws the latest children first, one of each group in turn."""
    depth = 0
    while depth <= counts[3]:
        while work.head[depth] >= 0:
            if counts[2] >= max_cells or counts[0] >= len(work.rows):
                return
            group = work.head[depth]
            work.head[depth] = work.next_group[group]
            latest = work.group_first[group] + work.group_known[group] - 1
            child = store.child_row[latest - work.group_drawn[group]]
            work.group_drawn[group] += 1
            if work.group_drawn[group] < work.group_limit[group]:
                _append(work, group, depth)
            if position(work.keys, work.values, child) < 0:
                visit(
                    store,
                    hidden,
                    num_neighbors,
                    until,
                    work,
                    counts,
                    child,
                    depth + 1,
                    True,
                )
        depth += 1


@njit(cache=True, nogil=True)
def expand_uniform(store, hidden, num_neighbors, until, work, counts, max_cells, state):
    r"""Draws children uniformly: first a slot of the shallowest depth, then the child.

    All slots (group, i), i below the limit of the group, are equally likely;
    the children of a group are drawn without replacement by a Fisher-Yates
    shuffle of which only the touched places are kept.
    """
    moved = {(np.int64(-1), np.int64(-1)): np.int64(-1)}
    depth = 0
    while depth <= counts[3]:
        num_slots = 0
        group = work.head[depth]
        while group >= 0:
            num_slots += work.group_limit[group]
            group = work.next_group[group]
        slots = np.empty(num_slots, dtype=np.int64)
        filled = 0
        group = work.head[depth]
        while group >= 0:
            for _ in range(work.group_limit[group]):
                slots[filled] = group
                filled += 1
            group = work.next_group[group]
        while filled > 0:
            if counts[2] >= max_cells or counts[0] >= len(work.rows):
                return
            pick = draw_below(state, filled)
            group = slots[pick]
            filled -= 1
            slots[pick] = slots[filled]
            place = work.group_drawn[group]
            work.group_drawn[group] += 1
            other = place + draw_below(state, work.group_known[group] - place)
            chosen = moved.get((group, other), other)
            moved[(group, other)] = moved.get((group, place), place)
            child = store.child_row[work.group_first[group] + chosen]
            if position(work.keys, work.values, child) < 0:
                visit(
                    store,
                    hidden,
                    num_neighbors,
                    until,
                    work,
                    counts,
                    child,
                    depth + 1,
                    True,
                )
        depth += 1


@njit(cache=True, nogil=True)
def expand(
    store, hidden, num_neighbors, uniform, until, work, counts, max_cells, state
):
    r"""Fills :obj:`work.rows` from the groups of the rows visited so far."""
    if uniform:
        expand_uniform(
            store, hidden, num_neighbors, until, work, counts, max_cells, state
        )
    else:
        expand_last(store, hidden, num_neighbors, until, work, counts, max_cells)


def new_frontier(max_rows: int, max_incoming: int, max_parents: int) -> Frontier:
    r"""Working memory for contexts of up to :obj:`max_rows` rows.

    A row brings at most :obj:`max_incoming` groups and :obj:`max_parents`
    parents, so nothing here can overflow.
    """
    capacity = capacity_for(max_rows)
    groups = max(1, max_rows * max_incoming)
    stack = max_rows * max(1, max_parents) + 2

    def make(size: int, fill: int = 0) -> NDArray[np.int64]:
        return np.full(size, fill, dtype=np.int64)

    return Frontier(
        keys=make(capacity, -1),
        values=make(capacity),
        rows=make(max_rows),
        tables=make(max_rows),
        label_keys=make(capacity, -1),
        labels=make(max_rows),
        stack_row=make(stack),
        stack_depth=make(stack),
        head=make(2 * max_rows + 4, -1),
        tail=make(2 * max_rows + 4, -1),
        next_group=make(groups),
        group_first=make(groups),
        group_known=make(groups),
        group_limit=make(groups),
        group_drawn=make(groups),
    )


@njit(cache=True, nogil=True)
def reset(work, counts):
    r"""Empties the working memory at a cost of what was used."""
    for i in range(counts[0]):
        # Rows may share a probe sequence: free slots only after all are found.
        work.stack_row[i] = find(work.keys, work.rows[i])
    for i in range(counts[0]):
        work.keys[work.stack_row[i]] = -1
    for depth in range(counts[3] + 1):
        work.head[depth] = -1
    counts[:] = 0
