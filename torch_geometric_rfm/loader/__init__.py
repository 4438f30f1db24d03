r"""Mini-batches of relational contexts and of temporal subgraphs."""

from torch_geometric_rfm.loader.context_loader import ContextLoader
from torch_geometric_rfm.loader.temporal_neighbor_loader import TemporalNeighborLoader

__all__ = ['ContextLoader', 'TemporalNeighborLoader']
