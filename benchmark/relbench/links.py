r"""Recommendation tasks: truths as an array, and RelBench's metrics of them."""

from typing import Any

import numpy as np


def truths_of(task: Any, split: str) -> np.ndarray:
    r""":obj:`[n, destinations]` which destinations are right for each row."""
    rows = task.frame['destinations'][task.frame['split'] == split]
    truth = np.zeros((len(rows), len(task.destination_keys)), dtype=bool)
    for i, destinations in enumerate(rows):
        truth[i, destinations] = True
    return truth


def score_links(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    r"""MAP at k, by RelBench.

    Args:
        truth: :obj:`[n, destinations]` which are right.
        prediction: :obj:`[n, k]` rows of destinations, best first, -1 for none.

    Raises:
        ValueError: If a destination does not exist, or a row names it twice.
    """
    from relbench import metrics

    hit, count = _hits(truth, prediction)
    return {'map': float(metrics.map(hit, count))}


def average_precision(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    r""":obj:`[n]` what MAP is the mean of."""
    from relbench import metrics

    hit, count = _hits(truth, prediction)
    pairs = (slice(i, i + 1) for i in range(len(hit)))
    return np.array([metrics.map(hit[one], count[one]) for one in pairs])


def _hits(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = truth > 0, prediction.astype(np.int64)
    if prediction.min() < -1 or prediction.max() >= truth.shape[1]:
        raise ValueError(
            f'recommendations must be rows of the {truth.shape[1]} destinations, or -1 '
            f'(got {prediction.min()} to {prediction.max()})'
        )
    ordered = np.sort(prediction, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError('a row recommends the same destination twice')
    hit = np.take_along_axis(truth, np.maximum(prediction, 0), axis=1)
    return hit & (prediction >= 0), truth.sum(axis=1)
