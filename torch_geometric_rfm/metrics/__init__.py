r"""Metrics, and baselines on the rows that a model is scored on."""

from torch_geometric_rfm.data.class_metrics import accuracy, log_loss, macro_f1
from torch_geometric_rfm.metrics.baselines import (
    baselines_of,
    class_frequency,
    entity_class_frequency,
    entity_mean,
    entity_mean_train,
    evaluate_baselines,
    global_mean,
    global_median,
    last_labels,
    smoothed_labels,
)
from torch_geometric_rfm.metrics.calibration import (
    calibration_error,
    coverage,
    fit_temperature,
    perfect_calibration_error,
)
from torch_geometric_rfm.metrics.conformal import conformal_shifts, shifted_quantiles
from torch_geometric_rfm.metrics.direction import less_is_better

__all__ = [
    'accuracy',
    'baselines_of',
    'calibration_error',
    'class_frequency',
    'conformal_shifts',
    'coverage',
    'entity_class_frequency',
    'entity_mean',
    'entity_mean_train',
    'evaluate_baselines',
    'fit_temperature',
    'global_mean',
    'global_median',
    'last_labels',
    'less_is_better',
    'log_loss',
    'macro_f1',
    'perfect_calibration_error',
    'shifted_quantiles',
    'smoothed_labels',
]
