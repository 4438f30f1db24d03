r"""Compiled sums of labels that count less the older they are."""

import numpy as np
from numba import njit

from torch_geometric_rfm.sampler.labels import num_labels_known


@njit(cache=True, nogil=True)
def discounted_sums(value, start, discount):
    r"""Sums of the values up to each one, of each range alone, and of their weights:
    the last counts 1, every one before it less by the discount.

    Args:
        value: :obj:`[N]` values of all ranges, one after another.
        start: :obj:`[ranges + 1]` where each begins.
        discount: The weight of a value beside that of the next one.
    """
    total, weight = np.empty(len(value)), np.empty(len(value))
    for k in range(len(start) - 1):
        t, w = 0.0, 0.0
        for i in range(start[k], start[k + 1]):
            t, w = discount * t + value[i], discount * w + 1.0
            total[i], weight[i] = t, w
    return total, weight


@njit(cache=True, nogil=True)
def last_known_labels(task, rows, until):
    r"""Where in :obj:`own_row` the last known label of each entity is, -1 without one.

    Args:
        task: :class:`TaskArrays`.
        rows: :obj:`[B]` entities, as rows of the store.
        until: :obj:`[B]` up to when each may look.
    """
    out = np.full(len(rows), -1)
    for b in range(len(rows)):
        local = rows[b] - task.first_entity
        first, last = task.own_start[local], task.own_start[local + 1]
        known = num_labels_known(task, task.own_row, first, last, until[b])
        if known > 0:
            out[b] = first + known - 1
    return out
