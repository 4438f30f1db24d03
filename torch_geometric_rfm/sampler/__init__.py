r"""Sampling of relational contexts."""

from torch_geometric_rfm.sampler.context_sampler import ContextSampler

__all__ = ['ContextSampler']
