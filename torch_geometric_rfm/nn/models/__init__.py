r"""Whole models."""

from .relational_transformer import RelationalTransformer

__all__ = ['RelationalTransformer']
