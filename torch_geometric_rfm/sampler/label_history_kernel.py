r"""Compiled summaries of known labels."""

import numpy as np
from numba import njit

from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.labels import num_labels_known

_WINDOW = 4  # horizons


@njit(cache=True, nogil=True)
def running_sums(value, start):
    r"""Sums of the values up to each one, of each range alone: what is later, or of
    another, must not even change a rounding.

    Args:
        value: :obj:`[N]` values of all ranges, one after another.
        start: :obj:`[ranges + 1]` where each begins.
    """
    out = np.empty(len(value))
    for k in range(len(start) - 1):
        total = 0.0
        for i in range(start[k], start[k + 1]):
            total += value[i]
            out[i] = total
    return out


@compiled
def _mean_of(sums, first, start, end):
    # Of the places from `start` to `end` of a range that begins at `first`.
    if start == end:
        return np.nan
    before = sums[first + start - 1] if start > 0 else 0.0
    return (sums[first + end - 1] - before) / (end - start)


@njit(cache=True, nogil=True)
def summarise_labels(task, own_sum, all_sum, has_own, rows, until, out):
    r"""Summarises the labels that are known by then.

    Args:
        task: :class:`TaskArrays`.
        own_sum: Running sums of the labels in :obj:`own_row`.
        all_sum: Running sums of the labels in :obj:`label_row`.
        has_own: Whether the labels of the entity are summarised.
        rows: :obj:`[B]` entities, as rows of the store.
        until: :obj:`[B]` up to when each may look.
        out: :obj:`[B, cells]` filled with the mean of the entity's labels, that of
            everyone's lately and :math:`\log(1 + n)` for its :math:`n` labels, as far
            as they are asked for; NaN for means of nothing. The second cell of those
            of an entity is left as it is.
    """
    window, size = _WINDOW * task.horizon, len(task.label_row)
    for b in range(len(rows)):
        cell = 0
        if has_own:
            local = rows[b] - task.first_entity
            first, end = task.own_start[local], task.own_start[local + 1]
            known = num_labels_known(task, task.own_row, first, end, until[b])
            out[b, 0] = _mean_of(own_sum, first, 0, known)
            out[b, out.shape[1] - 1] = np.log1p(np.float64(known))
            cell = 2
        if window > 0:
            end = num_labels_known(task, task.label_row, 0, size, until[b])
            start = num_labels_known(task, task.label_row, 0, end, until[b] - window)
            out[b, cell] = _mean_of(all_sum, 0, start, end)
