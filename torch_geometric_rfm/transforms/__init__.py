r"""Transforms of contexts."""

from .mask_cells import MaskCells
from .masking import (
    ColumnStrategy,
    ForeignKeyStrategy,
    HeteroMasking,
    MaskingView,
    MaskStrategy,
    NeighborhoodStrategy,
    RowStrategy,
    TargetStrategy,
    UniformStrategy,
)

__all__ = [
    'ColumnStrategy',
    'ForeignKeyStrategy',
    'HeteroMasking',
    'MaskCells',
    'MaskStrategy',
    'MaskingView',
    'NeighborhoodStrategy',
    'RowStrategy',
    'TargetStrategy',
    'UniformStrategy',
]
