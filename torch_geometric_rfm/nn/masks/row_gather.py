from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class RowMap(NamedTuple):
    r"""A selection of rows, and the way back: row :obj:`i` of the output is
    the sum of the rows :obj:`source[offsets[i]:offsets[i + 1]]` of the input,
    row :obj:`j` of the input is read by the rows
    :obj:`reverse[reverse_offsets[j]:reverse_offsets[j + 1]]` of the output.
    """

    source: Tensor
    offsets: Tensor
    reverse: Tensor
    reverse_offsets: Tensor

    def flip(self) -> 'RowMap':
        r"""The map of the opposite direction."""
        return RowMap(self.reverse, self.reverse_offsets, self.source, self.offsets)


def gather_rows(src: Tensor, row_map: RowMap) -> Tensor:
    r"""Selects rows, zero where there is none, and sums the gradients of rows
    that are read more than once without ever scattering.

    Args:
        src (Tensor): :obj:`[N, C]`.
        row_map (RowMap): From :math:`N` to :math:`M` rows.

    Returns:
        Tensor: :obj:`[M, C]`.

    Example:
        >>> index, offsets = torch.tensor([1, 1]), torch.tensor([0, 1, 1, 2])
        >>> reverse, reverse_offsets = torch.tensor([0, 2]), torch.tensor([0, 0, 2])
        >>> row_map = RowMap(index, offsets, reverse, reverse_offsets)
        >>> gather_rows(torch.tensor([[1.0], [2.0]]), row_map).view(-1)
        tensor([2., 0., 2.])
    """
    out: Tensor = _GatherRows.apply(src, *row_map)
    return out


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        src: Tensor,
        index: Tensor,
        offsets: Tensor,
        reverse: Tensor,
        reverse_offsets: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(index, offsets, reverse, reverse_offsets)
        return _sum_rows(src, index, offsets)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        row_map = RowMap(*ctx.saved_tensors)
        return gather_rows(grads[0], row_map.flip()), None, None, None, None


def _sum_rows(src: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    if src.size(0) == 0 or index.numel() == 0:
        return src.new_zeros(offsets.numel() - 1, src.size(1))
    return F.embedding_bag(index, src, offsets, mode='sum', include_last_offset=True)
