r"""Baselines on the rows that a model is scored on."""

from torch_geometric_rfm.metrics.baselines import (
    baselines_of,
    entity_mean,
    entity_mean_train,
    evaluate_baselines,
    global_mean,
    global_median,
    last_labels,
)

__all__ = [
    'baselines_of',
    'entity_mean',
    'entity_mean_train',
    'evaluate_baselines',
    'global_mean',
    'global_median',
    'last_labels',
]
