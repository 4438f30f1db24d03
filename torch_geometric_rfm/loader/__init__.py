r"""Loaders: relational contexts, mixtures of them, and heterogeneous subgraphs."""

from torch_geometric_rfm.loader.context_loader import ContextLoader
from torch_geometric_rfm.loader.mixture_loader import (
    MixtureLoader,
    MixturePart,
    mixture_weights,
)
from torch_geometric_rfm.loader.temporal_neighbor_loader import TemporalNeighborLoader

__all__ = [
    'ContextLoader',
    'MixtureLoader',
    'MixturePart',
    'TemporalNeighborLoader',
    'mixture_weights',
]
