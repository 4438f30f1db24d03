import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, ModuleDict

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.nn.cell_output import CellOutput
from torch_geometric_rfm.nn.link_candidates import LinkScores
from torch_geometric_rfm.nn.number_head import NUMBER_HEADS, number_quantiles
from torch_geometric_rfm.nn.value_encoding import edges_of

_SCALARS = ('number', 'boolean', 'datetime')


class CellDecoder(torch.nn.Module):
    r"""Predicts the value of each cell with one linear layer per cell type.

    Strings and brought vectors are predicted as an embedding, to be scored against
    candidates by :func:`~torch_geometric_rfm.nn.candidate_scores`.

    Args:
        channels (int): Size of each embedded cell.
        text_channels (int): Size of the embeddings of strings.
        boolean_as_number (bool, optional): If set to :obj:`True`, booleans
            have no decoder of their own but that of numbers, so that their
            outputs are normalised values as well.
            (default: :obj:`False`)
        number_head (str, optional): What is predicted of a number:
            :obj:`'value'`, :obj:`'quantile'` for 19 quantiles from 5 % to 95 %, or
            :obj:`'bins'` for probabilities of the edges of its column's bins. The
            value of the latter two is the median. (default: :obj:`'value'`)

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
        self,
        channels: int,
        text_channels: int,
        boolean_as_number: bool = False,
        number_head: str = 'value',
    ) -> None:
        super().__init__()
        self.channels = channels
        self.text_channels = text_channels
        self.boolean_as_number = boolean_as_number
        if number_head not in NUMBER_HEADS:
            known = ', '.join(map(repr, NUMBER_HEADS))
            raise ValueError(
                f"'number_head' must be one of {known} (got {number_head!r})"
            )
        if boolean_as_number and number_head != 'value':
            raise ValueError(
                "'boolean_as_number' shares the head of numbers, which must be "
                f"'value' (got {number_head!r})"
            )
        self.number_head = number_head

        names = [n for n in _SCALARS if not (boolean_as_number and n == 'boolean')]
        self.lins = ModuleDict({name: Linear(channels, 1) for name in names})
        if number_head != 'value':
            self.lins['number'] = Linear(channels, NUMBER_HEADS[number_head])
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

    @torch.no_grad()
    def shrink(self, factor: float, name: str = 'boolean') -> None:
        r"""Scales what is predicted of a type of cells beside what is copied.

        What a pretrained model adds to copied labels was learned on other databases,
        and may hold for these alone.

        Args:
            factor (float): What weights and bias are multiplied by.
            name (str, optional): The type, as :obj:`"boolean"`, :obj:`"number"`,
                :obj:`"datetime"` or :obj:`"text"`. (default: :obj:`"boolean"`)

        Raises:
            ValueError: If there is no head of the type.

        Example:
            >>> decoder = CellDecoder(8, text_channels=4)
            >>> decoder.shrink(0.0)
            >>> decoder.lins['boolean'].bias
            Parameter containing:
            tensor([0.], requires_grad=True)
        """
        if name not in self.lins:
            known = ', '.join(map(repr, self.lins))
            raise ValueError(f'there is no head of {name!r} (known are: {known})')
        for parameter in self.lins[name].parameters():
            parameter.mul_(factor)

    def forward(
        self,
        x: Tensor,
        cells: CellData,
        subset: Tensor | None = None,
        copied: Tensor | None = None,
    ) -> Tensor:
        r"""Decodes one scalar a cell, by its type.

        Args:
            x (Tensor): The embedded cells :obj:`[N, C]`, or :obj:`[M, C]` of
                the :obj:`subset`.
            cells (CellData): The contexts.
            subset (Tensor, optional): The cells :obj:`[M]` to decode, all if
                not given. (default: :obj:`None`)
            copied (Tensor, optional): What is added to the value of each, from
                :class:`~torch_geometric_rfm.nn.CopyAttention`. Bins take nothing.
                (default: :obj:`None`)
        """
        types = cells.cell_type if subset is None else cells.cell_type[subset]
        if self.number_head != 'value':
            return self._decode(x, cells, types, subset, copied)[0]
        value = self._decode_scalars(x, types)
        return value if copied is None else value + copied

    def _decode_scalars(self, x: Tensor, types: Tensor) -> Tensor:
        number = 'number' if self.boolean_as_number else 'boolean'
        names = ('number', number, 'datetime')  # in the order of the cell types
        if self.number_head != 'value':
            names = (number, number, 'datetime')  # Those of numbers come afterwards.
        weight, bias = (
            torch.cat([self.lins.get_parameter(f'{name}.{kind}') for name in names])
            for kind in ('weight', 'bias')
        )  # [3, C] and [3]
        out = F.linear(x, weight, bias)  # [N, 3]
        out = out.gather(1, types.clamp(max=CellType.DATETIME).unsqueeze(1))
        return out.squeeze(1).masked_fill(types > CellType.DATETIME, 0.0)

    def _decode(
        self,
        x: Tensor,
        cells: CellData,
        types: Tensor,
        subset: Tensor | None,
        copied: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        # Values of all cells; of those that are numbers, outputs and edges.
        value = self._decode_scalars(x, types)
        if copied is not None:
            value = value + copied
        at = (types == CellType.NUMBER).nonzero().view(-1)
        if self.number_head == 'value':
            return value, value[at].unsqueeze(1), None
        number = self.lins['number'](x[at])
        edges = None
        if self.number_head == 'quantile' and copied is not None:
            number = number + copied[at].unsqueeze(1)
        if self.number_head == 'bins':
            edges = edges_of(cells, at if subset is None else subset[at])
        level = torch.tensor([0.5], device=x.device)
        median = number_quantiles(
            number, self.number_head, level, number if edges is None else edges
        )
        value = value.index_copy(0, at, median.squeeze(1).to(value.dtype))
        return value, number, edges

    def decode_all(
        self,
        x: Tensor,
        cells: CellData,
        index: Tensor,
        copied: tuple[Tensor, Tensor] | None = None,
        links: LinkScores | None = None,
    ) -> CellOutput:
        r"""What all heads predict.

        Args:
            x (Tensor): The embedded cells :obj:`[M, C]`.
            cells (CellData): The contexts.
            index (Tensor): Which of their cells these are :obj:`[M]`.
            copied (tuple, optional): What is added to values :obj:`[M]` and to the
                embeddings of the strings among them, from
                :class:`~torch_geometric_rfm.nn.CopyAttention`.
                (default: :obj:`None`)
            links (LinkScores, optional): What is said of hidden links, to be passed
                on. (default: :obj:`None`)
        """
        types = cells.cell_type[index]
        value, number, edges = self._decode(
            x, cells, types, index, None if copied is None else copied[0]
        )
        embedding = self.decode_text(x[types >= CellType.CATEGORY])
        if copied is not None:
            embedding = embedding + copied[1]
        return CellOutput(
            index=index,
            cell_type=types,
            value=value,
            embedding=embedding,
            number=number,
            number_head=self.number_head,
            edges=edges,
            links=links,
        )

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
