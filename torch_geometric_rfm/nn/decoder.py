import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, ModuleDict

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType

_SCALARS = ('number', 'boolean', 'datetime')


class CellDecoder(torch.nn.Module):
    r"""Predicts the value of each cell with one linear layer per cell type.

    Args:
        channels (int): Size of each embedded cell.
        text_channels (int): Size of the embeddings of strings.
        boolean_as_number (bool, optional): If set to :obj:`True`, booleans
            have no decoder of their own but that of numbers, so that their
            outputs are normalised values as well.
            (default: :obj:`False`)

    Shapes:
        - **input:** cells :math:`(N, C)`, contexts of :math:`N` cells
        - **output:** values :math:`(N)`: normalised numbers and datetimes,
          logits of booleans, zero for strings

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=5)
        >>> CellDecoder(16, text_channels=8)(torch.randn(5, 16), cells).size()
        torch.Size([5])
    """

    def __init__(
        self, channels: int, text_channels: int, boolean_as_number: bool = False
    ) -> None:
        super().__init__()
        self.channels = channels
        self.text_channels = text_channels
        self.boolean_as_number = boolean_as_number

        names = [n for n in _SCALARS if not (boolean_as_number and n == 'boolean')]
        self.lins = ModuleDict({name: Linear(channels, 1) for name in names})
        self.lins['text'] = Linear(channels, text_channels)

    def reset_parameters(self, zero: bool = False) -> None:
        r"""Resets all learnable parameters of the module.

        Args:
            zero (bool, optional): If set to :obj:`True`, all predictions start
                at zero. (default: :obj:`False`)
        """
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()
        if zero:
            for param in self.parameters():
                torch.nn.init.zeros_(param)

    def forward(
        self, x: Tensor, cells: CellData, subset: Tensor | None = None
    ) -> Tensor:
        r"""Decodes one scalar a cell, by its type.

        Args:
            x (Tensor): The embedded cells :obj:`[N, C]`, or :obj:`[M, C]` of
                the :obj:`subset`.
            cells (CellData): The contexts.
            subset (Tensor, optional): The cells :obj:`[M]` to decode, all if
                not given. (default: :obj:`None`)
        """
        types = cells.cell_type if subset is None else cells.cell_type[subset]
        number = 'number' if self.boolean_as_number else 'boolean'
        names = ('number', number, 'datetime')  # in the order of the cell types
        weight, bias = (
            torch.cat([self.lins.get_parameter(f'{name}.{kind}') for name in names])
            for kind in ('weight', 'bias')
        )  # [3, C] and [3]
        out = F.linear(x, weight, bias)  # [N, 3]
        out = out.gather(1, types.clamp(max=CellType.DATETIME).unsqueeze(1))
        return out.squeeze(1).masked_fill(types > CellType.DATETIME, 0.0)

    def decode_text(self, x: Tensor) -> Tensor:
        r"""Decodes each cell to the embedding of a string.

        Args:
            x (Tensor): The embedded cells :obj:`[*, C]`.

        Returns:
            Tensor: Embeddings :obj:`[*, text_channels]`.
        """
        return self.lins['text'](x)

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f'{name}({self.channels}, text_channels={self.text_channels})'
