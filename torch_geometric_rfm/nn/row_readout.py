import torch
from torch import Tensor
from torch.nn import Linear, Parameter

from torch_geometric_rfm.data.cell_data import CellData


class RowReadout(torch.nn.Module):
    r"""Embeds each row of contexts as the projected mean of its embedded cells:

    .. math::
        \mathbf{h}_r = \mathbf{W} \left( \frac{1}{|\mathcal{C}(r)|}
        \sum_{i \in \mathcal{C}(r)} \mathbf{x}_i \right) + \mathbf{b}

    with :math:`\mathcal{C}(r)` the cells of row :math:`r`. The mean of a row
    without cells is a learned vector.

    Args:
        channels (int): Size of each embedded cell, and of each row.

    Shapes:
        - **input:** embedded cells :math:`(N, C)`, contexts of :math:`N` cells
          and :math:`R` rows
        - **output:** rows :math:`(R, C)`

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_contexts=2, num_cells=8)
        >>> readout = RowReadout(16)
        >>> readout(torch.randn(16, 16), cells).size(0) == cells.num_rows
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.lin = Linear(channels, channels)
        self.empty = Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.lin.reset_parameters()
        torch.nn.init.normal_(self.empty, std=0.02)

    def forward(self, x: Tensor, cells: CellData) -> Tensor:
        r"""Embeds each row.

        Args:
            x (Tensor): The embedded cells :obj:`[N, C]`.
            cells (CellData): The contexts.
        """
        if x.dim() != 2 or x.size(0) != cells.row.numel():
            raise ValueError(
                f"'x' must have one embedding a cell, [{cells.row.numel()}, "
                f'{self.channels}] (got {list(x.shape)})'
            )
        count = torch.bincount(cells.row, minlength=cells.num_rows)
        total = x.new_zeros(cells.num_rows, x.size(1)).index_add(0, cells.row, x)
        mean = total / count.clamp(min=1).unsqueeze(1)
        empty = (count == 0).unsqueeze(1)
        return self.lin(torch.where(empty, self.empty.to(x.dtype), mean))

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.channels})'
