r"""Losses over hidden cells."""

from .masked_cell_loss import MaskedCellLoss

__all__ = ['MaskedCellLoss', 'MaskedLinkLoss']
