r"""The relational transformer and its parts."""

from .attention_masks import (
    attention_masks,
    column_mask,
    feature_mask,
    full_mask,
    neighbor_mask,
    pair_mask,
    register_mask,
)
from .conv import RelationalAttention
from .decoder import CellDecoder
from .dense_mask import DenseMask
from .encoder import CellEncoder
from .models import RelationalTransformer, from_official, to_official
from .relational_block import RelationalBlock

__all__ = [
    'CellDecoder',
    'CellEncoder',
    'DenseMask',
    'RelationalAttention',
    'RelationalBlock',
    'RelationalTransformer',
    'attention_masks',
    'column_mask',
    'feature_mask',
    'from_official',
    'full_mask',
    'neighbor_mask',
    'pair_mask',
    'register_mask',
    'to_official',
]
