r"""Metrics of a split, from scikit-learn and torchmetrics."""

import numpy as np
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_calibration_error

from benchmark.relbench.links import score_links

MAIN = {
    'binary_classification': 'roc_auc',
    'multiclass_classification': 'accuracy',
    'recommendation': 'map',
    'regression': 'nmae',
}
r"""The metric that tables and choices go by; RelBench's."""

LESS_IS_BETTER = ('log_loss', 'ece', 'mae', 'nmae', 'rmse')
NUM_BINS = 15
LEAST = np.finfo(np.float64).eps
r"""The least probability that the log loss counts, as scikit-learn's."""


def score(
    kind: str, label: np.ndarray, prediction: np.ndarray, train_std: float
) -> dict[str, float]:
    r"""All metrics of some predictions.

    Args:
        kind: The type of the task.
        label: :obj:`[n]` labels, numbers of classes if there are several; of a
            recommendation :obj:`[n, destinations]` which are right.
        prediction: :obj:`[n]` probabilities of true, or numbers; of several classes
            :obj:`[n, classes]` probabilities. Labels of no column count as wrong. Of
            a recommendation :obj:`[n, k]` rows of destinations, best first.
        train_std: Standard deviation of the train labels, which NMAE divides by.

    Raises:
        ValueError: If predictions are missing, infinite, or no probabilities.
    """
    is_multiclass = kind == 'multiclass_classification'
    dims = {'multiclass_classification': (1, 2), 'recommendation': (2, 2)}
    fit = (label.ndim, prediction.ndim) == dims.get(kind, (1, 1))
    if not fit or len(label) != len(prediction):
        raise ValueError(
            f'there must be a prediction a label (got shapes {prediction.shape} for '
            f'{label.shape})'
        )
    if not np.isfinite(prediction).all():
        raise ValueError(
            f'predictions must be finite (got {prediction[~np.isfinite(prediction)][0]}'
            f' among {prediction.size}); look at what the model was fed'
        )
    if kind == 'recommendation':
        return score_links(label, prediction)
    if kind == 'regression':
        mae = float(sk.mean_absolute_error(label, prediction))
        return {
            'nmae': mae / train_std,
            'mae': mae,
            'rmse': float(sk.root_mean_squared_error(label, prediction)),
            'r2': float(sk.r2_score(label, prediction)),
        }
    if prediction.min() < 0 or prediction.max() > 1:
        raise ValueError(
            f'predictions of classes must be probabilities (got '
            f'{prediction.min():g} to {prediction.max():g})'
        )
    if is_multiclass:
        return _score_classes(label.astype(np.int64), prediction)
    error = binary_calibration_error(
        torch.from_numpy(prediction.astype(np.float64)),
        torch.from_numpy(label.astype(np.int64)),
        n_bins=NUM_BINS,
    )
    return {
        'roc_auc': float(sk.roc_auc_score(label, prediction)),
        'average_precision': float(sk.average_precision_score(label, prediction)),
        'accuracy': float(sk.accuracy_score(label, prediction >= 0.5)),
        'log_loss': float(sk.log_loss(label, prediction)),
        'ece': float(error),
    }


def _score_classes(label: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    chosen = prediction.argmax(axis=1)
    is_right = (chosen == label).astype(np.int64)
    # A class that cannot be predicted has no probability; it costs what none costs.
    known = label < prediction.shape[1]
    given = np.zeros(len(label))
    given[known] = prediction[known, label[known]] / prediction[known].sum(axis=1)
    # Of the class that is chosen: how sure, and how often right.
    error = binary_calibration_error(
        torch.from_numpy(prediction.max(axis=1).astype(np.float64)),
        torch.from_numpy(is_right),
        n_bins=NUM_BINS,
    )
    return {
        'accuracy': float(is_right.mean()),
        'log_loss': float(-np.log(np.clip(given, LEAST, 1.0)).mean()),
        'macro_f1': float(sk.f1_score(label, chosen, average='macro', zero_division=0)),
        'ece': float(error),
    }
