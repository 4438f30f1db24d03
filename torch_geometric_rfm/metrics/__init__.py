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
from torch_geometric_rfm.metrics.direction import less_is_better

__all__ = [
    'baselines_of',
    'entity_mean',
    'entity_mean_train',
    'evaluate_baselines',
    'global_mean',
    'global_median',
    'last_labels',
    'less_is_better',
]
