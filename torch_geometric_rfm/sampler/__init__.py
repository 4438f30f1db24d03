r"""Sampling of relational contexts."""

from torch_geometric_rfm.sampler.context_policy import (
    ContextPolicy,
    LocalNeighborhood,
    OwnLabels,
    RandomLabels,
    RecentLabels,
)
from torch_geometric_rfm.sampler.context_sampler import ContextSampler

__all__ = [
    'ContextPolicy',
    'ContextSampler',
    'LocalNeighborhood',
    'OwnLabels',
    'RandomLabels',
    'RecentLabels',
]
