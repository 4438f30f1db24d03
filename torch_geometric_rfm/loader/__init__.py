r"""Mini-batches of relational contexts."""

from torch_geometric_rfm.loader.context_loader import ContextLoader

__all__ = ['ContextLoader']
