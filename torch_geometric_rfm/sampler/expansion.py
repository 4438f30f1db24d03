r"""The compiled expansion of contexts: which children join the rows visited so far.

Of the children of a visited row those that were known, at most
:obj:`num_neighbors` a foreign key, the shallowest rows first. Groups are searched
and children drawn only when their turn comes, so that a context costs in
proportion to its own size.
"""

import numpy as np

from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.kernels import BLOCK, DEPTH, MOVED, visit
from torch_geometric_rfm.sampler.random_stream import draw_below
from torch_geometric_rfm.sampler.row_set import find


@compiled
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


@compiled
def _list_groups(store, num_neighbors, until, work, depth):
    # The groups of the rows of a depth, in the order of the rows; returns how many.
    num_groups = 0
    at = work.head[depth]
    while at >= 0:
        table = work.tables[at]
        local = work.rows[at] - store.table_start[table]
        for i in range(store.incoming_start[table], store.incoming_start[table + 1]):
            k = store.incoming[i]
            if num_neighbors[k] == 0:
                continue
            ptr = store.child_ptr_start[k] + local
            first = store.child_start[k] + store.child_ptr[ptr]
            last = store.child_start[k] + store.child_ptr[ptr + 1]
            if first == last:
                continue
            work.group_first[num_groups] = first
            work.group_known[num_groups] = last
            work.group_limit[num_groups] = num_neighbors[k]
            work.group_table[num_groups] = store.fkey_child[k]
            num_groups += 1
        at = work.next_row[at]
    most = len(work.rows)  # More than these are never drawn.
    kept = 0
    for i in range(num_groups):
        first, last = work.group_first[i], work.group_known[i]
        known = num_known(store.row_time, store.child_row, first, last, until)
        if known == 0:
            continue
        limit = most if work.group_limit[i] < 0 else work.group_limit[i]
        work.group_first[kept] = first
        work.group_known[kept] = known
        work.group_limit[kept] = min(known, limit, most)
        work.group_table[kept] = work.group_table[i]
        work.group_drawn[kept] = 0
        kept += 1
    return kept


@compiled
def _visit_drawn(store, hidden, until, work, counts, num_drawn, depth, max_cells):
    for i in range(num_drawn):
        work.pending_row[i] = store.child_row[work.pending_child[i]]
    return visit(
        store, hidden, until, work, counts, num_drawn, depth + 1, max_cells, True
    )


@compiled
def _expand_last(store, hidden, until, work, counts, max_cells, depth, num_groups):
    # The latest children first, one of each group in turn.
    for group in range(num_groups):
        work.group_turn[group] = group
    turn, kept = 0, 0
    while num_groups > 0:
        num_drawn = 0
        while num_drawn < BLOCK:
            if turn == num_groups:
                num_groups, turn, kept = kept, 0, 0
                if num_groups == 0:
                    break
            group = work.group_turn[turn]
            turn += 1
            latest = work.group_first[group] + work.group_known[group] - 1
            work.pending_child[num_drawn] = latest - work.group_drawn[group]
            work.pending_table[num_drawn] = work.group_table[group]
            num_drawn += 1
            work.group_drawn[group] += 1
            if work.group_drawn[group] < work.group_limit[group]:
                work.group_turn[kept] = group
                kept += 1
        if not _visit_drawn(
            store, hidden, until, work, counts, num_drawn, depth, max_cells
        ):
            return False
    return True


@compiled
def _draw_moved(state, work, counts, first, place, size):
    # One step of a Fisher-Yates shuffle of which only what moved is kept: the number
    # that stands at a random place from `place` on takes its turn, and what stood at
    # `place` stands there now. Shuffles at other keys do not touch it.
    other = place + draw_below(state, size - place)
    slot = find(work.moved_keys, first + other)
    chosen = work.moved_values[slot] if work.moved_keys[slot] >= 0 else other
    if other != place:
        if work.moved_keys[slot] < 0:
            work.moved_keys[slot] = first + other
            work.moved_slots[counts[MOVED]] = slot
            counts[MOVED] += 1
        here = find(work.moved_keys, first + place)
        moved = work.moved_keys[here] >= 0
        work.moved_values[slot] = work.moved_values[here] if moved else place
    return chosen


@compiled
def _expand_uniform(
    store, hidden, until, work, counts, max_cells, depth, num_groups, state, base
):
    # A random slot of the depth, each group having as many as its limit, and then a
    # random child of its group, both without replacement.
    num_slots = 0
    for group in range(num_groups):
        work.group_turn[group] = num_slots
        num_slots += work.group_limit[group]
    place = 0
    while place < num_slots:
        num_drawn = 0
        while num_drawn < BLOCK and place < num_slots:
            slot = _draw_moved(state, work, counts, base, place, num_slots)
            place += 1
            group, high = 0, num_groups
            while group + 1 < high:
                middle = (group + high) // 2
                if work.group_turn[middle] <= slot:
                    group = middle
                else:
                    high = middle
            first = work.group_first[group]
            known = work.group_known[group]
            if work.group_limit[group] == known:
                child = slot - work.group_turn[group]
            else:
                turn = work.group_drawn[group]
                work.group_drawn[group] += 1
                child = _draw_moved(state, work, counts, first, turn, known)
            work.pending_child[num_drawn] = first + child
            work.pending_table[num_drawn] = work.group_table[group]
            num_drawn += 1
        if not _visit_drawn(
            store, hidden, until, work, counts, num_drawn, depth, max_cells
        ):
            return -1
    return base + num_slots


@compiled
def expand(
    store, hidden, num_neighbors, uniform, until, work, counts, max_cells, state
):
    r"""Fills :obj:`work.rows` from the children of the rows visited so far."""
    depth = 0
    base = np.int64(len(store.child_row))  # Keys of slots follow those of children.
    while depth <= counts[DEPTH]:
        num_groups = _list_groups(store, num_neighbors, until, work, depth)
        if uniform:
            base = _expand_uniform(
                store,
                hidden,
                until,
                work,
                counts,
                max_cells,
                depth,
                num_groups,
                state,
                base,
            )
            if base < 0:
                return
        elif not _expand_last(
            store, hidden, until, work, counts, max_cells, depth, num_groups
        ):
            return
        depth += 1
