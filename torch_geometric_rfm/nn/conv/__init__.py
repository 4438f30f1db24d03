r"""Message passing layers."""

from .relational_attention import RelationalAttention

__all__ = ['RelationalAttention']
