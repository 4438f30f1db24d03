r"""The compiled sampling of neighbours, hop by hop.

Each hop first counts what it will take, which a binary search over the
time-sorted neighbours of a node tells, so that all arrays can grow at once; then
it draws. The cost is in proportion to the subgraph alone.
"""

import numpy as np
from numba import njit

from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.expansion import num_known
from torch_geometric_rfm.sampler.kernels import table_of
from torch_geometric_rfm.sampler.random_stream import draw_below, mix, stream_state
from torch_geometric_rfm.sampler.row_set import capacity_for, find

_ALL, _DISTINCT, _REPEATED = range(3)


@njit(cache=True, nogil=True)
def _grown(array, used, size):
    out = np.empty((len(array), size), dtype=np.int64)
    out[:, :used] = array[:, :used]
    return out


@compiled
def draw_distinct(state, population, count, moved, moved_to, slots, out):
    r"""Draws :obj:`count` distinct numbers below :obj:`population` into :obj:`out`.

    A Fisher-Yates shuffle of which only the touched places are kept, in the
    hash table :obj:`moved`, :obj:`moved_to`, which is left empty.
    """
    for i in range(count):
        other = i + draw_below(state, population - i)
        slot = find(moved, other)
        out[i] = moved_to[slot] if moved[slot] == other else other
        place = find(moved, np.int64(i))
        here = moved_to[place] if moved[place] == i else np.int64(i)
        moved[slot], moved_to[slot] = other, here
        slots[i] = slot
    for i in range(count):
        moved[slots[i]] = -1


@njit(cache=True, nogil=True)
def _new_scratch(most):
    moved = np.full(capacity_for(most), -1, dtype=np.int64)
    moved_to = np.empty(len(moved), dtype=np.int64)
    return moved, moved_to, np.empty(most, dtype=np.int64), np.empty(most, np.int64)


@njit(cache=True, nogil=True)
def _new_table(num_keys, used, nodes, stride):
    # Of equal nodes the first counts; without `stride` those of all seeds are equal.
    keys = np.full(capacity_for(num_keys), -1, dtype=np.int64)
    values = np.empty(len(keys), dtype=np.int64)
    for i in range(used):
        key = nodes[3, i] * stride + nodes[0, i]
        slot = find(keys, key)
        if keys[slot] == -1:
            keys[slot], values[slot] = key, i
    return keys, values


@njit(cache=True, nogil=True)
def _new_states(keys, disjoint):
    num_seeds = len(keys)
    state = np.zeros(num_seeds if disjoint else 1, dtype=np.uint64)
    for b in range(num_seeds):
        own = stream_state(keys[b, 0], keys[b, 1], keys[b, 2])
        if disjoint:
            state[b] = own
        else:  # One stream for the batch, of all its inputs in order.
            state[0] = mix(state[0] ^ own)
    return state


@njit(cache=True, nogil=True)
def _plan_hop(
    index, num_neighbors, hop, replace, last, node, node_type, batch, begin, end, until
):
    # [groups, 6] node, edge type, first neighbour, how many are known, how many are
    # taken, and how; then how many are taken in all, and in the largest drawing.
    num_groups, num_taken, most = 0, 0, 0
    for i in range(begin, end):
        t = node_type[i]
        num_groups += index.incoming_start[t + 1] - index.incoming_start[t]
    group = np.empty((num_groups, 6), dtype=np.int64)
    num_groups = 0
    for i in range(begin, end):
        t = node_type[i]
        for k in range(index.incoming_start[t], index.incoming_start[t + 1]):
            e = index.incoming[k]
            limit = num_neighbors[e, hop]
            if limit == 0:
                continue
            at = index.ptr_start[e] + node[i] - index.node_start[t]
            first = np.int64(index.ptr[at])
            known = np.int64(index.ptr[at + 1]) - first
            if index.dated[e]:
                known = num_known(
                    index.time, index.time_at, first, first + known, until[batch[i]]
                )
                if last and limit >= 0 and known > limit:
                    first += known - limit
                    known = limit
            if known == 0:
                continue
            count, how = limit, _DISTINCT
            if limit < 0 or (not replace and known <= limit):
                count, how = known, _ALL
            elif replace:
                how = _REPEATED
            else:
                most = max(most, count)
            group[num_groups, 0], group[num_groups, 1] = i, e
            group[num_groups, 2], group[num_groups, 3] = first, known
            group[num_groups, 4], group[num_groups, 5] = count, how
            num_groups += 1
            num_taken += count
    return group[:num_groups], num_taken, most


@njit(cache=True, nogil=True)
def sample_subgraph(
    index, num_neighbors, replace, last, disjoint, seeds, until, stream_keys
):
    r"""Samples the subgraph of a batch of seeds.

    Args:
        index: The :class:`NeighborIndex`.
        num_neighbors: :obj:`[edge types, hops]`, -1 for all.
        replace: Whether neighbours are drawn with replacement.
        last: Whether the latest dated neighbours are taken.
        disjoint: Whether each seed has a subgraph of its own.
        seeds: :obj:`[B]` nodes, numbered through all types.
        until: :obj:`[B]` times up to which their neighbours are known.
        stream_keys: :obj:`[B, 3]` seed, epoch and input of the random streams.

    Returns:
        For nodes in order of discovery :obj:`[4, N]` numbers, types, places in
        their types and seeds; for edges :obj:`[4, E]` types, sources and targets
        (places in their types) and positions; nodes by type and hop; edges by
        type and hop.
    """
    num_types = len(index.node_start) - 1
    num_seeds, num_hops = len(seeds), num_neighbors.shape[1]
    stride = index.node_start[num_types] if disjoint else np.int64(0)
    state = _new_states(stream_keys, disjoint)
    hop_nodes = np.zeros((num_types, num_hops + 1), dtype=np.int64)
    hop_edges = np.zeros((len(index.ptr_start), num_hops), dtype=np.int64)
    type_size = np.zeros(num_types, dtype=np.int64)
    nodes = np.empty((4, num_seeds), dtype=np.int64)
    edges = np.empty((4, 0), dtype=np.int64)
    for i in range(num_seeds):
        t = table_of(index.node_start, seeds[i])
        nodes[0, i], nodes[1, i], nodes[2, i], nodes[3, i] = (
            seeds[i],
            t,
            type_size[t],
            i,
        )
        type_size[t] += 1
        hop_nodes[t, 0] += 1
    begin, num_nodes, num_edges, room = 0, num_seeds, 0, 0
    moved, moved_to, slots, drawn = _new_scratch(room)
    for hop in range(num_hops):
        group, num_taken, most = _plan_hop(
            index,
            num_neighbors,
            hop,
            replace,
            last,
            nodes[0],
            nodes[1],
            nodes[3],
            begin,
            num_nodes,
            until,
        )
        # Room for all of it, as if every neighbour were new.
        nodes = _grown(nodes, num_nodes, num_nodes + num_taken)
        edges = _grown(edges, num_edges, num_edges + num_taken)
        keys, values = _new_table(num_nodes + num_taken, num_nodes, nodes, stride)
        if most > room:
            room = most
            moved, moved_to, slots, drawn = _new_scratch(room)
        begin = num_nodes
        for g in range(len(group)):
            i, e, first = group[g, 0], group[g, 1], group[g, 2]
            known, count, how = group[g, 3], group[g, 4], group[g, 5]
            seed = nodes[3, i]
            stream = state[seed : seed + 1] if disjoint else state
            if how == _DISTINCT:
                draw_distinct(stream, known, count, moved, moved_to, slots, drawn)
            for d in range(count):
                at = first + d
                if how == _DISTINCT:
                    at = first + drawn[d]
                elif how == _REPEATED:
                    at = first + draw_below(stream, known)
                found = np.int64(index.neighbor[at])
                slot = find(keys, seed * stride + found)
                if keys[slot] == -1:
                    t = table_of(index.node_start, found)
                    keys[slot], values[slot] = seed * stride + found, num_nodes
                    nodes[0, num_nodes], nodes[1, num_nodes] = found, t
                    nodes[2, num_nodes], nodes[3, num_nodes] = type_size[t], seed
                    type_size[t] += 1
                    hop_nodes[t, hop + 1] += 1
                    num_nodes += 1
                edges[0, num_edges] = e
                edges[1, num_edges] = nodes[2, values[slot]]
                edges[2, num_edges] = nodes[2, i]
                edges[3, num_edges] = index.edge_id[at]
                num_edges += 1
            hop_edges[e, hop] += count
    return nodes[:, :num_nodes], edges[:, :num_edges], hop_nodes, hop_edges
