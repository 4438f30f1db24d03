r"""Whether probabilities and intervals say how often they are right."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_LARGEST = 20.0


def fit_temperature(logits: Floats, label: Floats) -> float:
    r"""The temperature by which logits are divided to have the least log loss, as in
    the `"On Calibration of Modern Neural Networks"
    <https://arxiv.org/abs/1706.04599>`_ paper.

    Args:
        logits: :obj:`[n]` logits of true, or :obj:`[n, classes]`.
        label: :obj:`[n]` zeros and ones, or numbers of classes; rows of a class
            beyond the logits do not count.

    Returns:
        A number between 1/20 and 20; 1 where no row counts.

    Example:
        >>> fit_temperature(np.array([4.0] * 4), np.array([1.0, 1.0, 1.0, 0.0]))
        3.64...
    """
    columns = np.stack([0 * logits, logits], axis=1) if logits.ndim == 1 else logits
    counts = label < columns.shape[1]
    columns, index = columns[counts], label[counts].astype(np.int64)
    if not counts.any():
        return 1.0

    def loss(inverse: float) -> float:  # Convex.
        scaled = columns * inverse
        top = scaled.max(axis=1)
        total = np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top
        return float((total - scaled[np.arange(len(index)), index]).mean())

    # Golden section:
    low, high = 1 / _LARGEST, _LARGEST
    while high - low > 1e-6 * high:
        step = (high - low) * 0.6180339887498949
        if loss(high - step) < loss(low + step):
            high = low + step
        else:
            low = high - step
    return 2.0 / (low + high)


def calibration_error(probability: Floats, label: Floats, num_bins: int = 15) -> float:
    r"""The expected calibration error: the mean distance between probability and
    frequency, in bins of equal numbers of rows.

    Args:
        probability: :obj:`[n]` of true, or :obj:`[n, classes]`, of which the largest
            counts.
        label: :obj:`[n]` zeros and ones, or numbers of classes.
        num_bins: Bins. (default: :obj:`15`)

    Example:
        >>> calibration_error(np.full(4, 0.75), np.array([1.0, 1.0, 1.0, 0.0]))
        0.0
    """
    confidence, hit = _confidence(probability, label)
    # Rows of equal probability share a bin, wherever they stand.
    edges = np.quantile(confidence, np.linspace(0, 1, num_bins + 1)[1:-1])
    place = np.searchsorted(edges, confidence, side='left')
    gap = np.bincount(place, weights=hit - confidence)
    return float(np.abs(gap).sum() / len(confidence))


def perfect_calibration_error(
    probability: Floats,
    num_bins: int = 15,
    level: float = 0.95,
    num_draws: int = 1000,
    seed: int = 0,
) -> float:
    r"""What :func:`calibration_error` stays below with probability :obj:`level` if
    labels are drawn from these very probabilities.

    Args:
        probability: :obj:`[n]` of true, or :obj:`[n, classes]`.
        num_bins: Bins. (default: :obj:`15`)
        level: The quantile of the draws. (default: :obj:`0.95`)
        num_draws: Draws. (default: :obj:`1000`)
        seed: Seed of the draws. (default: :obj:`0`)

    Example:
        >>> perfect_calibration_error(np.full(10_000, 0.5)) < 0.02
        True
    """
    rng = np.random.default_rng(seed)
    # Whether the predicted class is right is all that counts.
    top = probability if probability.ndim == 1 else probability.max(axis=1)
    draws = [
        calibration_error(top, (rng.random(len(top)) < top).astype(float), num_bins)
        for _ in range(num_draws)
    ]
    return float(np.quantile(draws, level))


def coverage(label: Floats, lower: Floats, upper: Floats) -> tuple[float, float]:
    r"""The share of labels within their intervals, and its standard error.

    Args:
        label: :obj:`[n]` numbers.
        lower, upper: :obj:`[n]` ends of the intervals, which belong to them.

    Example:
        >>> coverage(np.array([1.0, 5.0]), np.zeros(2), np.array([2.0, 2.0]))
        (0.5, 0.35...)
    """
    share = float(((label >= lower) & (label <= upper)).mean())
    return share, float(np.sqrt(share * (1 - share) / len(label)))


def _confidence(probability: Floats, label: Floats) -> tuple[Floats, Floats]:
    if len(probability) != len(label) or len(label) == 0:
        raise ValueError(
            f"'probability' and 'label' must have as many rows, and some (got "
            f'{len(probability)} and {len(label)})'
        )
    if probability.ndim == 1:
        return probability, label
    hit = (probability.argmax(axis=1) == label).astype(np.float64)
    return probability.max(axis=1), hit
