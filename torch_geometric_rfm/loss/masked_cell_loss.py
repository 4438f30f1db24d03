import torch
import torch.nn.functional as F
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType


class MaskedCellLoss(torch.nn.Module):
    r"""The loss of predicted values at hidden cells whose truth is known.

    The Huber loss for numbers and datetimes, binary cross entropy with logits
    for booleans. Strings do not count. Where no cell counts the loss is zero.
    The mean loss of each cell type of the last call stands in
    :obj:`last_figures`, without gradient.

    Args:
        huber_delta (float, optional): The error beyond which the Huber loss is
            linear. (default: :obj:`1.0`)
        reduction (str, optional): With :obj:`'cell'`, the mean over the cells.
            With :obj:`'context'`, the mean over the cells of each context, then
            over the contexts that have any. (default: :obj:`'cell'`)

    Shapes:
        - **input:** values :math:`(N)`, contexts of :math:`N` cells
        - **output:** a scalar

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_contexts=2)
        >>> bool(MaskedCellLoss()(torch.zeros(cells.num_nodes), cells) > 0)
        True
    """

    def __init__(self, huber_delta: float = 1.0, reduction: str = 'cell') -> None:
        super().__init__()
        if huber_delta <= 0.0:
            raise ValueError(f"'huber_delta' must be positive (got {huber_delta})")
        if reduction not in ('cell', 'context'):
            raise ValueError(
                f"'reduction' must be 'cell' or 'context' (got '{reduction}')"
            )
        self.huber_delta = huber_delta
        self.reduction = reduction
        self.last_figures: dict[str, Tensor] = {}

    def forward(self, output: Tensor, cells: CellData) -> Tensor:
        r"""Computes the loss.

        Args:
            output (Tensor): The predicted values :obj:`[N]`.
            cells (CellData): The contexts.
        """
        if output.size() != cells.target.size():
            raise ValueError(
                f"'output' must hold one value for each of the {cells.num_nodes} "
                f'cells (got shape {list(output.shape)})'
            )
        known = cells.mask & ~cells.target.isnan()
        known = known & (cells.cell_type <= CellType.DATETIME)
        index = known.nonzero().view(-1)
        self.last_figures = {}
        if index.numel() == 0:
            return 0.0 * output.sum()

        pred, kind = output[index], cells.cell_type[index]
        target = cells.target[index].to(pred.dtype)
        loss = torch.where(
            kind == CellType.BOOLEAN,
            F.binary_cross_entropy_with_logits(pred, target, reduction='none'),
            F.huber_loss(pred, target, reduction='none', delta=self.huber_delta),
        )
        for value in kind.unique().tolist():
            figure = loss.detach()[kind == value].mean()
            self.last_figures[CellType(value).name.lower()] = figure
        if self.reduction == 'cell':
            return loss.mean()
        batch = cells.batch_or_zeros[index]
        count = torch.bincount(batch, minlength=cells.num_contexts)
        weight = count[batch].to(loss.dtype).reciprocal()
        return (loss * weight).sum() / (count > 0).sum()

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(huber_delta={self.huber_delta}, '
            f"reduction='{self.reduction}')"
        )
