r"""Losses over hidden cells."""

from .masked_cell_loss import MaskedCellLoss
from .masked_link_loss import MaskedLinkLoss
from .number_loss import binned_cross_entropy, pinball_loss
from .sampled_softmax import SampledSoftmaxLoss
from .string_loss import cosine_loss

__all__ = [
    'MaskedCellLoss',
    'MaskedLinkLoss',
    'SampledSoftmaxLoss',
    'binned_cross_entropy',
    'cosine_loss',
    'pinball_loss',
]
