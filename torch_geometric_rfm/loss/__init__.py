r"""Losses over hidden cells."""

from .masked_cell_loss import MaskedCellLoss
from .number_loss import binned_cross_entropy, pinball_loss
from .string_loss import cosine_loss

__all__ = [
    'MaskedCellLoss',
    'binned_cross_entropy',
    'cosine_loss',
    'pinball_loss',
]
