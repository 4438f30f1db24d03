r"""Sampling of relational contexts and of temporal subgraphs."""

from torch_geometric_rfm.sampler.context_policy import (
    ContextPolicy,
    History,
    LocalNeighborhood,
    OwnLabels,
    RandomLabels,
    RecentLabels,
)
from torch_geometric_rfm.sampler.context_sampler import ContextSampler
from torch_geometric_rfm.sampler.entity_history import EntityHistory
from torch_geometric_rfm.sampler.label_history import LabelHistory
from torch_geometric_rfm.sampler.label_smoothing import LabelSmoothing
from torch_geometric_rfm.sampler.temporal_neighbor_sampler import (
    TemporalNeighborSampler,
)

__all__ = [
    'ContextPolicy',
    'ContextSampler',
    'EntityHistory',
    'History',
    'LabelHistory',
    'LabelSmoothing',
    'LocalNeighborhood',
    'OwnLabels',
    'RandomLabels',
    'RecentLabels',
    'TemporalNeighborSampler',
]
