r"""What a context hides: strategies, and what takes the place of hidden values."""

from .column import ColumnStrategy
from .foreign_key import ForeignKeyStrategy
from .hetero_masking import HeteroMasking
from .mask_strategy import MaskStrategy
from .masking_view import MaskingView
from .neighborhood import NeighborhoodStrategy
from .row import RowStrategy
from .target import TargetStrategy
from .uniform import UniformStrategy

__all__ = [
    'ColumnStrategy',
    'ForeignKeyStrategy',
    'HeteroMasking',
    'MaskStrategy',
    'MaskingView',
    'NeighborhoodStrategy',
    'RowStrategy',
    'TargetStrategy',
    'UniformStrategy',
]
