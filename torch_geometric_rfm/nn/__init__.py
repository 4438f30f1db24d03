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
from .cell_graph import from_cell_graph, to_cell_graph
from .conv import RelationalAttention
from .decoder import CellDecoder
from .dense_mask import DenseMask
from .encoder import CellEncoder
from .hetero_relational_block import HeteroRelationalBlock
from .models import RelationalTransformer, from_official, to_official
from .relational_block import RelationalBlock

__all__ = [
    'CellDecoder',
    'CellEncoder',
    'DenseMask',
    'HeteroRelationalBlock',
    'RelationalAttention',
    'RelationalBlock',
    'RelationalTransformer',
    'attention_masks',
    'column_mask',
    'feature_mask',
    'from_cell_graph',
    'from_official',
    'full_mask',
    'neighbor_mask',
    'pair_mask',
    'register_mask',
    'to_cell_graph',
    'to_official',
]
