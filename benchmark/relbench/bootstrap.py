r"""Whether one model is better than another: a paired bootstrap over the entities of
test rows, and over seeds.
"""

import numpy as np

from benchmark.relbench.links import average_precision

NUM_RESAMPLES = 2000


def resamples(
    entity: np.ndarray, count: int = NUM_RESAMPLES, seed: int = 0
) -> np.ndarray:
    r""":obj:`[count, n]` how often each row is drawn. Entities are drawn, each with all
    of its rows, as rows of one entity depend on each other.

    Args:
        entity: :obj:`[n]` the entity of each row.
        count: Number of resamples.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    _, place = np.unique(entity, return_inverse=True)
    size = int(place.max()) + 1
    weights = rng.multinomial(size, np.full(size, 1 / size), size=count)
    return weights[:, place].astype(np.float64)


def resampled_roc_auc(
    label: np.ndarray, prediction: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    r"""The AUROC under each row of weights, NaN where a class is not drawn.

    Args:
        label: :obj:`[n]` zeros and ones.
        prediction: :obj:`[n]` scores; equal ones count half.
        weights: :obj:`[resamples, n]` weights.
    """
    order = np.argsort(prediction, kind='stable')
    ordered = prediction[order]
    start = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    drawn, truth = weights[:, order], label[order]
    positive = np.add.reduceat(drawn * truth, start, axis=1)
    negative = np.add.reduceat(drawn * (1 - truth), start, axis=1)
    below = np.cumsum(negative, axis=1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.divide(wins, pairs, out=np.full(len(wins), np.nan), where=pairs > 0)


def resampled_mae(
    label: np.ndarray, prediction: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    r"""The mean absolute error under each row of weights."""
    return weights @ np.abs(label - prediction) / weights.sum(axis=1)


def resampled(
    kind: str, label: np.ndarray, predictions: list[np.ndarray], weights: np.ndarray
) -> np.ndarray:
    r"""The goodness of a model, higher is better, under each row of weights: the
    mean over its seeds, of which each resample draws as many as there are.
    """
    if kind == 'regression':
        values = [-resampled_mae(label, one, weights) for one in predictions]
    elif kind == 'recommendation':
        each = [average_precision(label, one) for one in predictions]
        values = [weights @ one / weights.sum(axis=1) for one in each]
    elif kind == 'multiclass_classification':
        right = [one.argmax(axis=1) == label for one in predictions]
        values = [weights @ one / weights.sum(axis=1) for one in right]
    else:
        values = [resampled_roc_auc(label, one, weights) for one in predictions]
    num_seeds = len(values)
    rng = np.random.default_rng(num_seeds)
    share = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), len(weights))
    return (share.T / num_seeds * np.array(values)).sum(axis=0)


def is_better(best: np.ndarray, other: np.ndarray) -> bool:
    r"""Whether 97.5 % of the resamples at least prefer the first, as a two-sided
    interval of 95 % without zero does.
    """
    difference = best - other
    difference = difference[~np.isnan(difference)]
    return bool(np.quantile(difference, 0.025) > 0)
