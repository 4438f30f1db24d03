r"""Compiled sums of known labels that count less the older they are."""

import numpy as np
from numba import njit

from torch_geometric_rfm.sampler.labels import num_labels_known

_ENOUGH = 1e-18  # What older labels could add is less than a rounding.


@njit(cache=True, nogil=True)
def discounted_sums(task, value, discount, rows, until):
    r"""The sums :obj:`[B]` of the known labels of entities, and of their weights.

    Args:
        task: :class:`TaskArrays`.
        value: The labels in the order of :obj:`own_row`.
        discount: The weight of a label beside that of the next one.
        rows: :obj:`[B]` entities, as rows of the store.
        until: :obj:`[B]` up to when each may look.
    """
    total, weight = np.zeros(len(rows)), np.zeros(len(rows))
    for b in range(len(rows)):
        local = rows[b] - task.first_entity
        first, last = task.own_start[local], task.own_start[local + 1]
        known = num_labels_known(task, task.own_row, first, last, until[b])
        share = 1.0
        for i in range(first + known - 1, first - 1, -1):
            total[b] += share * value[i]
            weight[b] += share
            share *= discount
            if share < _ENOUGH:
                break
    return total, weight
