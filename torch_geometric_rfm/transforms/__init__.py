r"""Transforms of contexts."""

from .mask_cells import MaskCells

__all__ = ['MaskCells']
