from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, ModuleDict, Parameter, RMSNorm

from torch_geometric_rfm.data.cell_data import UNDATED, CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.nn.value_encoding import (
    DATETIME_ENCODINGS,
    NUMBER_ENCODINGS,
    check_encodings,
    encode_datetime,
    encode_number,
)

_SCALARS = (CellType.NUMBER, CellType.BOOLEAN, CellType.DATETIME)


def row_age(cells: CellData) -> Tensor:
    r"""The time of each row relative to the seed time :obj:`[R]`, as the signed
    logarithm of days.

    It is zero for undated rows, and for rows with a datetime to predict, which it
    would give away.
    """
    context = cells.row.new_zeros(cells.num_rows)
    context[cells.row] = cells.batch_or_zeros
    days = (cells.row_time - cells.seed_time[context]).double() / 86_400
    hidden = cells.row[cells.predict_mask & (cells.cell_type == CellType.DATETIME)]
    known = cells.row_time != UNDATED
    known[hidden] = False
    age = days.sign() * days.abs().log1p()
    return torch.where(known, age, 0.0).to(cells.value.dtype)


class CellEncoder(torch.nn.Module):
    r"""Embeds cells by their column and value, as in the `"Relational
    Transformer: Toward Zero-Shot Foundation Models for Relational Data"
    <https://arxiv.org/abs/2510.06377>`_ paper.

    .. math::
        \mathbf{x}_i = \textrm{RMSNorm}_{\textrm{col}} (\mathbf{W}_{\textrm{col}}
        \mathbf{e}_i + \mathbf{b}_{\textrm{col}}) + \textrm{RMSNorm}_t
        (\mathbf{W}_t \mathbf{v}_i + \mathbf{b}_t)

    with the embedding :math:`\mathbf{e}_i` of the column phrase and the value
    :math:`\mathbf{v}_i` of type :math:`t`. A hidden cell has a learned vector
    per type in place of the second term. All strings share one encoder.

    .. note::
        The norms stand in the authors' code, not in the formula of the paper.

    Args:
        channels (int): Size of each embedded cell.
        text_channels (int): Size of the embeddings of strings and columns.
        rms_eps (float, optional): The epsilon of all norms.
            (default: :obj:`1e-6`)
        relative_time (bool, optional): If set to :obj:`True`, datetime cells
            also enter with their time relative to the seed time, and all
            cells with that of their row. (default: :obj:`False`)
        boolean_as_number (bool, optional): If set to :obj:`True`, booleans
            (which are z-scored in any case) are encoded as the numbers they
            are. (default: :obj:`False`)
        number_encoding (str, optional): How numbers enter, see
            :func:`~torch_geometric_rfm.nn.encode_number`.
            (default: :obj:`'linear'`)
        datetime_encoding (sequence of str, optional): How datetimes enter, see
            :func:`~torch_geometric_rfm.nn.encode_datetime`; all encodings with
            :obj:`relative_time` and :obj:`('global', )` without, if not given.
            (default: :obj:`None`)

    Shapes:
        - **input:** contexts of :math:`N` cells
        - **output:** cells :math:`(N, C)`

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=5, text_channels=8)
        >>> CellEncoder(16, text_channels=8)(cells).size()
        torch.Size([5, 16])
    """

    def __init__(
        self,
        channels: int,
        text_channels: int,
        rms_eps: float = 1e-6,
        relative_time: bool = False,
        boolean_as_number: bool = False,
        number_encoding: str = 'linear',
        datetime_encoding: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.text_channels = text_channels
        self.relative_time = relative_time
        self.boolean_as_number = boolean_as_number
        if datetime_encoding is None:
            every = tuple(DATETIME_ENCODINGS)
            datetime_encoding = every if relative_time else ('global',)
        check_encodings(number_encoding, datetime_encoding)
        self.number_encoding = number_encoding
        self.datetime_encoding = tuple(datetime_encoding)

        in_channels = {
            'column': text_channels,
            'number': NUMBER_ENCODINGS[number_encoding],
            'boolean': 1,
            'datetime': sum(DATETIME_ENCODINGS[e] for e in datetime_encoding),
            'text': text_channels,
        }
        if boolean_as_number:
            del in_channels['boolean']
        if relative_time:
            in_channels['age'] = 1
        self.lins = ModuleDict(
            {name: Linear(size, channels) for name, size in in_channels.items()}
        )
        self.norms = ModuleDict(
            {name: RMSNorm(channels, eps=rms_eps) for name in in_channels}
        )
        # One row per encoder of values: number, (boolean,) datetime, text.
        self.mask_embedding = Parameter(torch.empty(4 - boolean_as_number, channels))

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.modules():
            if isinstance(module, (Linear, RMSNorm)):
                module.reset_parameters()
        torch.nn.init.normal_(self.mask_embedding)

    def _encode(self, name: str, src: Tensor) -> Tensor:
        src = src.to(self.mask_embedding.dtype)
        return self.norms[name](self.lins[name](src))

    def forward(self, cells: CellData) -> Tensor:
        r"""Embeds the cells.

        Args:
            cells (CellData): The contexts.
        """
        for name in ('column_embedding', 'text_embedding'):
            if cells[name].size(-1) != self.text_channels:
                raise ValueError(
                    f"'{name}' must have {self.text_channels} channels "
                    f'(got {cells[name].size(-1)}); use the text encoder that the '
                    'model was trained with'
                )
        # Every cell looks up its value term in one table: first the hidden
        # vectors, then each string once, then the visible scalars.
        table = [self.mask_embedding, self._encode('text', cells.text_embedding)]
        start = self.mask_embedding.size(0)
        kind = cells.cell_type.clamp(max=CellType.CATEGORY)
        string = (kind == CellType.CATEGORY) & ~cells.mask
        if bool((string & (cells.text_index < 0)).any()):
            raise ValueError("'text_index' must not be negative for a visible string")
        index = (kind - 1).clamp(min=0) if self.boolean_as_number else kind
        index = torch.where(string, cells.text_index + start, index)
        start += table[1].size(0)
        for cell_type in _SCALARS:
            chosen = ((kind == cell_type) & ~cells.mask).nonzero().view(-1)
            number = self.boolean_as_number and cell_type == CellType.BOOLEAN
            name = 'number' if number else cell_type.name.lower()
            if name == 'number':
                value = encode_number(cells, chosen, self.number_encoding)
            elif name == 'datetime':
                value = encode_datetime(cells, chosen, self.datetime_encoding)
            else:
                value = cells.value[chosen].unsqueeze(1)
            table.append(self._encode(name, value))
            rank = torch.arange(chosen.numel(), device=chosen.device)
            index[chosen] = rank + start
            start += chosen.numel()

        column = self._encode('column', cells.column_embedding)
        x = F.embedding(cells.column, column) + F.embedding(index, torch.cat(table))
        if self.relative_time:
            age = self._encode('age', row_age(cells).unsqueeze(1))  # [R, C]
            x = x + F.embedding(cells.row, age)
        return x

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f'{name}({self.channels}, text_channels={self.text_channels})'
