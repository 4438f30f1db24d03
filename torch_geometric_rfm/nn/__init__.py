r"""The relational transformer and its parts."""

from .attention_masks import attention_masks, register_mask, to_edge_index
from .candidate_scores import candidate_scores
from .cell_graph import from_cell_graph, to_cell_graph
from .cell_output import CellOutput
from .conv import RelationalAttention
from .copy_attention import CopyAttention
from .decoder import CellDecoder
from .dense_mask import DenseMask
from .encoder import CellEncoder
from .hetero_relational_block import HeteroRelationalBlock
from .link_candidates import LinkCandidates, LinkScores, link_candidates
from .link_decoder import LinkDecoder
from .masks.attention_mask import AttentionMask
from .masks.blocked_mask import BlockedMask
from .masks.cell_masks import (
    column_mask,
    feature_mask,
    full_mask,
    neighbor_mask,
    row_parents,
)
from .masks.edge_mask import EdgeMask
from .masks.flex_mask import FlexMask
from .masks.id_mask import IdMask
from .models import (
    RelationalMAE,
    RelationalRecommender,
    RelationalTransformer,
    from_official,
    to_official,
)
from .number_head import number_quantiles
from .relational_block import RelationalBlock
from .row_embeddings import RowEmbeddings, row_embeddings, row_mean, to_x_dict
from .row_readout import RowReadout
from .soft_bins import piecewise_linear, soft_bins
from .top_k import exact_top_k
from .value_encoding import encode_datetime, encode_number
from .visible_cells import visible_cells

__all__ = [
    'AttentionMask',
    'BlockedMask',
    'CellDecoder',
    'CellEncoder',
    'CellOutput',
    'CopyAttention',
    'DenseMask',
    'EdgeMask',
    'FlexMask',
    'HeteroRelationalBlock',
    'IdMask',
    'LinkCandidates',
    'LinkDecoder',
    'LinkScores',
    'RelationalAttention',
    'RelationalBlock',
    'RelationalMAE',
    'RelationalRecommender',
    'RelationalTransformer',
    'RowEmbeddings',
    'RowReadout',
    'attention_masks',
    'candidate_scores',
    'column_mask',
    'encode_datetime',
    'encode_number',
    'exact_top_k',
    'feature_mask',
    'from_cell_graph',
    'from_official',
    'full_mask',
    'link_candidates',
    'neighbor_mask',
    'number_quantiles',
    'piecewise_linear',
    'register_mask',
    'row_embeddings',
    'row_mean',
    'row_parents',
    'soft_bins',
    'to_cell_graph',
    'to_edge_index',
    'to_official',
    'to_x_dict',
    'visible_cells',
]
