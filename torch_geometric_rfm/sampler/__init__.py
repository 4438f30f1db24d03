r"""Sampling of relational contexts and of temporal subgraphs."""

from torch_geometric_rfm.sampler.context_sampler import ContextSampler
from torch_geometric_rfm.sampler.temporal_neighbor_sampler import (
    TemporalNeighborSampler,
)

__all__ = ['ContextSampler', 'TemporalNeighborSampler']
