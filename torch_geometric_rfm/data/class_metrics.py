r"""Metrics of predicted classes. RelBench has none of its own for them."""

import numpy as np
from numpy.typing import NDArray


def accuracy(label: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    r"""The share of rows whose most likely class is the label.

    Args:
        label: :obj:`[n]` numbers of classes; one that is no column of
            :obj:`probability` counts as missed.
        probability: :obj:`[n, classes]` predicted probabilities.

    Example:
        >>> accuracy(np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
        0.5
    """
    _check(label, probability)
    return float((probability.argmax(axis=1) == label).mean())


def log_loss(label: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    r"""The mean negative logarithm of the probability of the label.

    Probabilities are at least :math:`10^{-15}`, so that a label that could not be
    predicted costs 34.5. See :func:`accuracy` for the arguments.

    Example:
        >>> round(log_loss(np.array([0.0]), np.array([[0.5, 0.5]])), 4)
        0.6931
    """
    _check(label, probability)
    known = label < probability.shape[1]
    index = np.where(known, label, 0).astype(np.int64)
    chosen = np.where(known, probability[np.arange(len(label)), index], 0.0)
    return float(-np.log(np.clip(chosen, 1e-15, None)).mean())


def macro_f1(label: NDArray[np.float64], probability: NDArray[np.float64]) -> float:
    r"""The mean F1 of the classes that are a label or are predicted. See
    :func:`accuracy` for the arguments.

    Example:
        >>> macro_f1(np.array([0, 1]), np.array([[0.9, 0.1], [0.1, 0.9]]))
        1.0
    """
    _check(label, probability)
    chosen = probability.argmax(axis=1)
    size = int(max(probability.shape[1], label.max() + 1))
    true = np.bincount(label.astype(np.int64), minlength=size)
    given = np.bincount(chosen, minlength=size)
    hits = np.bincount(chosen[chosen == label], minlength=size)
    counts = true + given > 0
    return float((2 * hits[counts] / (true + given)[counts]).mean())


def _check(label: NDArray[np.float64], probability: NDArray[np.float64]) -> None:
    if probability.ndim != 2 or len(probability) != len(label) or not len(label):
        raise ValueError(
            f"'probability' must have one row for each of the {len(label)} labels and "
            f'one column a class (got shape {list(probability.shape)})'
        )
