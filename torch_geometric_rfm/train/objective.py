import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.loss import MaskedCellLoss


class LabelAndCellLoss(torch.nn.Module):
    r"""The loss of labels, and a share of that of other cells to predict.

    .. math::
        \mathcal{L} = \mathcal{L}_{\textrm{labels}} + \lambda \,
        \mathcal{L}_{\textrm{cells}}

    Labels are the first cells of contexts, as samplers put them there. Other cells
    teach what tables hold, and keep a model from learning few labels by heart.

    Args:
        label_loss (MaskedCellLoss): Of the labels.
        cell_loss (MaskedCellLoss): Of all other cells to predict.
        weight (float): The factor :math:`\lambda`; with 0 other cells do not count.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> from torch_geometric_rfm.transforms import MaskCells
        >>> cells = MaskCells('uniform', rate=0.5)(random_cells())
        >>> output = torch.zeros(cells.num_nodes)
        >>> losses = MaskedCellLoss(), MaskedCellLoss()
        >>> alone, both = (LabelAndCellLoss(*losses, w)(output, cells) for w in (0, 1))
        >>> bool(both > alone)
        True
    """

    def __init__(
        self, label_loss: MaskedCellLoss, cell_loss: MaskedCellLoss, weight: float
    ) -> None:
        super().__init__()
        if not 0.0 <= weight < float('inf'):
            raise ValueError(f"'weight' must be at least 0 (got {weight})")
        self.label_loss, self.cell_loss = label_loss, cell_loss
        self.weight = weight

    def forward(self, output: Tensor, cells: CellData) -> Tensor:
        r"""Computes the loss; see :class:`~torch_geometric_rfm.loss.MaskedCellLoss`
        for the arguments.
        """
        context = cells.batch_or_zeros
        is_label = torch.ones_like(cells.mask)
        is_label[1:] = context[1:] != context[:-1]
        target = cells.target
        # What has no truth does not count.
        cells.target = target.masked_fill(~is_label, float('nan'))
        loss = self.label_loss(output, cells)
        if self.weight > 0.0:
            cells.target = target.masked_fill(is_label, float('nan'))
            loss = loss + self.weight * self.cell_loss(output, cells)
        cells.target = target
        return loss
