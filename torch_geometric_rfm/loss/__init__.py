r"""Losses over hidden cells."""

from .masked_cell_loss import MaskedCellLoss
from .masked_link_loss import MaskedLinkLoss
from .sampled_softmax import SampledSoftmaxLoss

__all__ = ['MaskedCellLoss', 'MaskedLinkLoss', 'SampledSoftmaxLoss']
