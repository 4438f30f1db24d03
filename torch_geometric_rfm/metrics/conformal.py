r"""Intervals that hold as often as they say."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def conformal_shifts(quantiles: Floats, label: Floats, levels: Floats) -> Floats:
    r"""By how much each predicted quantile must be moved to hold on further rows that
    are like these, as in the `"Conformalized Quantile Regression"
    <https://arxiv.org/abs/1905.03222>`_ paper (Theorem 2: both ends of an interval
    on their own).

    Of :math:`n` rows, the distances between label and quantile are sorted; the shift
    of level :math:`p` is number :math:`(n + 1) p` of them, rounded away from the
    median. If further rows are drawn as these were, the interval between two levels
    on either side of the median holds at least as often as it says, and, where no two
    distances are equal, at most :math:`2 / (n + 1)` more often.

    Args:
        quantiles: :obj:`[n, L]` predicted quantiles of rows that were not trained on.
        label: :obj:`[n]` numbers.
        levels: :obj:`[L]` their levels, between 0 and 1.

    Returns:
        :obj:`[L]` shifts, in the unit of the labels.

    Raises:
        ValueError: If there are too few rows for the outermost level.

    Example:
        >>> label = np.arange(1.0, 100.0)
        >>> conformal_shifts(np.zeros((99, 2)), label, np.array([0.05, 0.95]))
        array([ 5., 95.])
    """
    rows = len(label)
    # A number of rows that is whole but for rounding is meant to be whole.
    place = np.round((rows + 1) * levels, 9)
    number = np.where(levels < 0.5, np.floor(place), np.ceil(place)).astype(np.int64)
    if (number < 1).any() or (number > rows).any():
        outermost = float(np.minimum(levels, 1 - levels).min())
        raise ValueError(
            f'quantiles of {outermost:g} and {1 - outermost:g} need at least '
            f'{int(np.ceil(round(1 / outermost, 9))) - 1} labelled rows to be '
            f'calibrated (got {rows})'
        )
    distance = np.sort(label[:, None] - quantiles, axis=0)
    return distance[number - 1, np.arange(len(levels))]


def shifted_quantiles(
    quantiles: Floats, levels: Floats, shifts: Floats, known_levels: Floats
) -> Floats:
    r"""Predicted quantiles with the shifts of :func:`conformal_shifts`, those of levels
    in between by linear interpolation, and without crossing: they are sorted, and
    bounded by the median if it is one of them, which stays where its shift has put it.

    Args:
        quantiles: :obj:`[n, L]`.
        levels: :obj:`[L]`, in any order.
        shifts: :obj:`[K]`.
        known_levels: :obj:`[K]` the levels of the shifts, ascending.

    Example:
        >>> shifted_quantiles(
        ...     np.array([[3.0, 1.0]]),
        ...     np.array([0.9, 0.1]),
        ...     np.array([-1.0, 2.0]),
        ...     np.array([0.1, 0.9]),
        ... )
        array([[5., 0.]])
    """
    moved = quantiles + np.interp(levels, known_levels, shifts)
    if (levels == 0.5).any():
        median = moved[:, levels == 0.5][:, :1]
        below, above = np.minimum(moved, median), np.maximum(moved, median)
        moved = np.where(levels < 0.5, below, above)
    out = np.empty_like(moved)
    out[:, np.argsort(levels, kind='stable')] = np.sort(moved, axis=1)
    return out
