r"""Compiled cutting of a mask into blocks of queries and keys."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def group_blocks(ptr, ids, num_ids):
    r"""Numbers the groups of cells of a context that share their id.

    Args:
        ptr: :obj:`[contexts + 1]` first cell of each context.
        ids: :obj:`[cells]` id of each cell, negative for none.
        num_ids: All ids are below.

    Returns:
        :obj:`[cells]` the group of each cell, negative for none, and the
        number of groups.
    """
    group_of = np.full(num_ids, -1, dtype=np.int64)
    out = np.full(len(ids), -1, dtype=np.int64)
    num_groups = 0
    for context in range(len(ptr) - 1):
        first = num_groups
        for cell in range(ptr[context], ptr[context + 1]):
            i = ids[cell]
            if i >= 0:
                if group_of[i] < first:
                    group_of[i] = num_groups
                    num_groups += 1
                out[cell] = group_of[i]
    return out, num_groups


@njit(cache=True, nogil=True)
def _grown(src, size):
    if size <= len(src):
        return src
    out = np.empty(max(size, 2 * len(src)), dtype=src.dtype)
    out[: len(src)] = src
    return out


@njit(cache=True, nogil=True)
def query_blocks(ptr, query_ids, key_ids, num_ids, wanted, block_size):
    r"""Cuts the queries of each context into blocks of neighbours, each over
    the union of their keys.

    Queries lie in the order of their first id; those without keys are left
    out.

    Args:
        ptr: :obj:`[contexts + 1]` first cell of each context.
        query_ids: :obj:`[cells, P]` ids as a query, negative for none.
        key_ids: :obj:`[cells, Q]` ids as a key, none twice for a cell.
        num_ids: All ids are below.
        wanted: :obj:`[cells]` whether the cell is a query.
        block_size: Queries of a block at most.

    Returns:
        Queries by block and where each block starts; keys by block and where
        each block starts; for each query the places of its keys among those
        of its block, and where the places of each query start.
    """
    num_cells = len(wanted)
    count = np.zeros(num_ids, dtype=np.int64)
    start = np.full(num_ids, -1, dtype=np.int64)
    filled = np.zeros(num_ids, dtype=np.int64)
    block_of = np.full(num_cells, -1, dtype=np.int64)
    query_of = np.full(num_cells, -1, dtype=np.int64)
    place_of = np.empty(num_cells, dtype=np.int64)
    lists = np.empty(key_ids.size, dtype=np.int64)

    queries = np.empty(num_cells, dtype=np.int64)
    query_ptr = np.zeros(num_cells + 1, dtype=np.int64)
    keys = np.empty(4 * num_cells + 16, dtype=np.int64)
    key_ptr = np.zeros(num_cells + 1, dtype=np.int64)
    places = np.empty(16 * num_cells + 16, dtype=np.int64)
    place_ptr = np.zeros(num_cells + 1, dtype=np.int64)
    num_queries = num_blocks = num_keys = num_places = 0

    for context in range(len(ptr) - 1):
        first, end = ptr[context], ptr[context + 1]
        for cell in range(first, end):
            for i in key_ids[cell]:
                if i >= 0:
                    count[i] += 1
        used = 0
        for cell in range(first, end):
            for i in key_ids[cell]:
                if i >= 0:
                    if start[i] < 0:
                        start[i] = used
                        used += count[i]
                    lists[start[i] + filled[i]] = cell
                    filled[i] += 1

        begin = num_queries
        ascending = True
        for cell in range(first, end):
            if not wanted[cell]:
                continue
            for i in query_ids[cell]:
                if i >= 0 and count[i] > 0:
                    queries[num_queries] = cell
                    num_queries += 1
                    if num_queries - begin > 1:
                        before = queries[num_queries - 2]
                        ascending &= query_ids[before, 0] <= query_ids[cell, 0]
                    break
        if not ascending:
            chosen = queries[begin:num_queries].copy()
            order = np.argsort(query_ids[chosen, 0], kind='mergesort')
            queries[begin:num_queries] = chosen[order]

        for left in range(begin, num_queries, block_size):
            right = min(left + block_size, num_queries)
            first_key = num_keys
            for query in range(left, right):
                cell = queries[query]
                for i in query_ids[cell]:
                    if i < 0 or count[i] == 0:
                        continue
                    keys = _grown(keys, num_keys + count[i])
                    places = _grown(places, num_places + count[i])
                    for key in lists[start[i] : start[i] + count[i]]:
                        if block_of[key] != num_blocks:
                            block_of[key] = num_blocks
                            place_of[key] = num_keys - first_key
                            keys[num_keys] = key
                            num_keys += 1
                        if query_of[key] != query:
                            query_of[key] = query
                            places[num_places] = place_of[key]
                            num_places += 1
                place_ptr[query + 1] = num_places
            num_blocks += 1
            query_ptr[num_blocks] = right
            key_ptr[num_blocks] = num_keys

        for cell in range(first, end):
            for i in key_ids[cell]:
                if i >= 0:
                    count[i] = 0
                    start[i] = -1
                    filled[i] = 0
    return (
        queries[:num_queries],
        query_ptr[: num_blocks + 1],
        keys[:num_keys],
        key_ptr[: num_blocks + 1],
        places[:num_places],
        place_ptr[: num_queries + 1],
    )


@njit(cache=True, nogil=True)
def size_classes(sizes, counts, block_size, row_cost, class_cost):
    r"""Classes of padded sizes that cost least in all.

    Args:
        sizes: :obj:`[sizes]` all sizes there are, ascending.
        counts: :obj:`[sizes]` how many blocks have each.
        block_size: Queries of a block, or 0 if as many as its keys.
        row_cost: What a query or key costs, in pairs of query and key.
        class_cost: What a class costs, in pairs.

    Returns:
        :obj:`[sizes]` the padded size of each size.
    """
    num = len(sizes)
    best = np.zeros(num + 1)
    since = np.zeros(num, dtype=np.int64)
    for last in range(num):
        width = sizes[last]
        height = block_size if block_size > 0 else width
        price = height * width + row_cost * (height + width)
        blocks = 0
        best[last + 1] = np.inf
        for first in range(last, -1, -1):
            blocks += counts[first]
            cost = best[first] + class_cost + blocks * price
            if cost < best[last + 1]:
                best[last + 1] = cost
                since[last] = first
    out = np.empty(num, dtype=np.int64)
    last = num - 1
    while last >= 0:
        out[since[last] : last + 1] = sizes[last]
        last = since[last] - 1
    return out


@njit(cache=True, nogil=True)
def lay_out(order, ptr, base, size, cells, index, offsets, reverse, reverse_ptr):
    r"""Places the cells of blocks in a padded layout, and the way back.

    Args:
        order: :obj:`[blocks]` blocks in the order of the layout.
        ptr: :obj:`[blocks + 1]` first entry of each block in :obj:`cells`.
        base: :obj:`[blocks]` first place of each block.
        size: :obj:`[blocks]` number of its places.
        cells: Cells by block.
        index: Filled with the cell of each place that has one.
        offsets: :obj:`[places + 1]` filled with where each place starts there.
        reverse: Filled with the places of each cell.
        reverse_ptr: :obj:`[number of cells + 1]` zeros, filled with where each
            cell starts there.
    """
    for cell in cells:
        reverse_ptr[cell + 1] += 1
    for cell in range(len(reverse_ptr) - 1):
        reverse_ptr[cell + 1] += reverse_ptr[cell]
    following = reverse_ptr[:-1].copy()
    used = 0
    for block in order:
        for i in range(size[block]):
            offsets[base[block] + i] = used
            entry = ptr[block] + i
            if entry < ptr[block + 1]:
                cell = cells[entry]
                index[used] = cell
                used += 1
                reverse[following[cell]] = base[block] + i
                following[cell] += 1
    offsets[len(offsets) - 1] = used


@njit(cache=True, nogil=True)
def fill_bias(query_ptr, base, height, width, places, place_ptr, bias):
    r"""Writes zero where a query may attend, and for padding.

    Args:
        query_ptr: :obj:`[blocks + 1]` first query of each block.
        base: :obj:`[blocks]` first entry of each block in :obj:`bias`.
        height: Padded number of queries of a block.
        width: :obj:`[blocks]` padded number of its keys.
        places: Places of the keys of each query.
        place_ptr: :obj:`[queries + 1]` where each query starts there.
        bias: Filled with zeros.
    """
    for block in range(len(base)):
        line = base[block]
        for query in range(query_ptr[block], query_ptr[block + 1]):
            for place in places[place_ptr[query] : place_ptr[query + 1]]:
                bias[line + place] = 0.0
            line += width[block]
        bias[line : base[block] + height * width[block]] = 0.0
