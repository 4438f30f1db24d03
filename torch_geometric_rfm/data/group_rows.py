r"""Compiled grouping of child rows by their parents."""

from numba import njit


@njit(cache=True, nogil=True)
def group_rows(order, parent, first_row, ptr, out):
    r"""Sorts rows by parent, and within a parent as they are ordered.

    Args:
        order: :obj:`[rows]` positions in the order to be kept.
        parent: :obj:`[rows]` position of the parent, negative for none.
        first_row: Added to the positions that are written.
        ptr: :obj:`[parents + 1]` zeros, filled with where each group starts.
        out: Filled with the grouped rows that have a parent.
    """
    for owner in parent:
        if owner >= 0:
            ptr[owner + 1] += 1
    for i in range(1, len(ptr)):
        ptr[i] += ptr[i - 1]
    for row in order:
        owner = parent[row]
        if owner >= 0:
            out[ptr[owner]] = first_row + row
            ptr[owner] += 1
    # Every start has moved to the end of its group, the start of the next:
    for i in range(len(ptr) - 1, 0, -1):
        ptr[i] = ptr[i - 1]
    ptr[0] = 0
