r"""Transforms of contexts."""

from .drop_cells import DropCells
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
    'DropCells',
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
