r"""Whole models."""

from .key_map import from_official, to_official
from .relational_mae import RelationalMAE
from .relational_recommender import RelationalRecommender
from .relational_transformer import RelationalTransformer

__all__ = [
    'RelationalMAE',
    'RelationalRecommender',
    'RelationalTransformer',
    'from_official',
    'to_official',
]
