r"""Other ways to expand a context, compiled as ours is and with our emission.

- ``published``: a visited vector of all rows per context, and a scan of all children
  of a visited row, as the published samplers do it.
- ``eager``: a hash set and a binary search on time, as ours, but the children of a
  visited row are drawn at once rather than when their turn comes.

Both draw children uniformly, the shallowest first.
"""

import numpy as np
from numba import njit

from torch_geometric_rfm.sampler.emission import emit_context
from torch_geometric_rfm.sampler.expansion import num_known
from torch_geometric_rfm.sampler.kernels import (
    CELLS,
    DEPTH,
    ROWS,
    num_cells_of,
    reset,
    table_of,
)
from torch_geometric_rfm.sampler.neighbor_kernels import draw_distinct
from torch_geometric_rfm.sampler.random_stream import draw_below, stream_state
from torch_geometric_rfm.sampler.row_set import find


@njit(nogil=True, _nrt=False)
def _draw(
    store, first, last, width, until, scan, state, moved, moved_to, slots, known, drawn
):
    # Up to `width` random known children of a range, into `drawn`; returns how many.
    if scan:
        count = 0
        for at in range(first, last):
            if store.row_time[store.child_row[at]] <= until:
                known[count] = store.child_row[at]
                count += 1
        size = min(width, count)
        for i in range(size):
            j = i + draw_below(state, count - i)
            known[i], known[j] = known[j], known[i]
            drawn[i] = known[i]
        return size
    count = num_known(store.row_time, store.child_row, first, last, until)
    size = min(width, count)
    draw_distinct(state, count, size, moved, moved_to, slots, drawn)
    for i in range(size):
        drawn[i] = store.child_row[first + drawn[i]]
    return size


@njit(nogil=True)
def rival_batch(store, task, limits, work, seeds, until, times, keys, out, scan):
    r"""As ``sample_batch``, with eager drawing; with :obj:`scan` also a visited
    vector and full scans.
    """
    counts = np.zeros(5, dtype=np.int64)
    state = np.zeros(1, dtype=np.uint64)
    num_rows = len(store.row_time)
    drawn = np.empty(limits.num_neighbors.max(), dtype=np.int64)
    known = np.empty(len(store.child_row) if scan else 0, dtype=np.int64)
    moved = np.full(8 * len(drawn), -1, dtype=np.int64)
    moved_to = np.empty(len(moved), dtype=np.int64)
    slots = np.empty(len(drawn), dtype=np.int64)
    stack_row = np.empty(64 * limits.num_cells, dtype=np.int64)
    stack_depth = np.empty(64 * limits.num_cells, dtype=np.int64)
    most = 512 * limits.num_cells
    bucket = np.empty((8, most), dtype=np.int64)
    filled = np.zeros(8, dtype=np.int64)
    for b in range(len(seeds)):
        limit = until[b]
        state[0] = stream_state(keys[b, 0], keys[b, 1], keys[b, 2])
        visited = np.zeros(num_rows if scan else 1, dtype=np.bool_)
        filled[:] = 0
        stack_row[0], stack_depth[0], top = task.entity[seeds[b]], 0, 0
        max_cells = limits.num_cells - 2
        while counts[CELLS] < max_cells and counts[ROWS] < len(work.rows):
            if top < 0:
                depth = 0
                while depth < 8 and filled[depth] == 0:
                    depth += 1
                if depth == 8:
                    break
                pick = draw_below(state, filled[depth])
                row = bucket[depth, pick]
                filled[depth] -= 1
                bucket[depth, pick] = bucket[depth, filled[depth]]
            else:
                row, depth = stack_row[top], stack_depth[top]
                top -= 1
            slot = find(work.keys, row)
            if visited[row] if scan else work.keys[slot] == row:
                continue
            if scan:
                visited[row] = True
            work.keys[slot], work.values[slot] = row, counts[ROWS]
            table = table_of(store.table_start, row)
            work.rows[counts[ROWS]], work.tables[counts[ROWS]] = row, table
            work.slots[counts[ROWS]] = slot
            counts[ROWS] += 1
            counts[CELLS] += num_cells_of(store, task.hidden, row, table)
            local = row - store.table_start[table]
            below = min(depth + 1, 7)
            for i in range(
                store.incoming_start[table], store.incoming_start[table + 1]
            ):
                k = store.incoming[i]
                at = store.child_ptr_start[k] + local
                first = store.child_start[k] + store.child_ptr[at]
                last = store.child_start[k] + store.child_ptr[at + 1]
                width = limits.num_neighbors[k]
                size = _draw(
                    store,
                    first,
                    last,
                    width,
                    limit,
                    scan,
                    state,
                    moved,
                    moved_to,
                    slots,
                    known,
                    drawn,
                )
                size = min(size, most - filled[below])
                bucket[below, filled[below] : filled[below] + size] = drawn[:size]
                filled[below] += size
            width = store.fkey_start[table + 1] - store.fkey_start[table]
            first = store.parent_start[table] + local * width
            for k in range(width - 1, -1, -1):
                parent = store.parents[first + k]
                if parent >= 0 and store.row_time[parent] <= limit:
                    top += 1
                    stack_row[top], stack_depth[top] = parent, depth + 1
        emit_context(
            store,
            task,
            True,
            work,
            counts,
            seeds[b],
            work.labels,
            0,
            times[b],
            limits,
            out,
        )
        counts[DEPTH] = 0
        reset(work, counts)
