from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class MaskingView:
    r"""What a strategy chooses from: cells in rows, rows in contexts, and links.

    Args:
        eligible: :obj:`[N]` the cells that may be chosen.
        row: :obj:`[N]` row of each cell.
        column: :obj:`[N]` column of each cell.
        context: :obj:`[R]` context of each row.
        links: :obj:`[2, E]` from rows to parent rows.
        link_eligible: :obj:`[E]` the links that may be chosen.
        rate: :obj:`[B]` the share to choose in each context.
        cell_key, row_key, link_key: :obj:`[N]`, :obj:`[R]`, :obj:`[E]` what
            determines the draws of each.
    """

    eligible: Tensor
    row: Tensor
    column: Tensor
    context: Tensor
    links: Tensor
    link_eligible: Tensor
    rate: Tensor
    cell_key: Tensor
    row_key: Tensor
    link_key: Tensor

    @property
    def cell_context(self) -> Tensor:
        r"""Context of each cell :obj:`[N]`."""
        return self.context[self.row]

    @property
    def link_context(self) -> Tensor:
        r"""Context of each link :obj:`[E]`."""
        return self.context[self.links[0]]

    def within(self, chosen: Tensor) -> 'MaskingView':
        r"""The view in which only the contexts :obj:`chosen` :obj:`[B]` have cells
        and links to choose.
        """
        return replace(
            self,
            eligible=self.eligible & chosen[self.cell_context],
            link_eligible=self.link_eligible & chosen[self.link_context],
        )


def lexsort(*keys: Tensor) -> Tensor:
    r"""The order by several keys, the last being the first to decide.

    Example:
        >>> lexsort(torch.tensor([2, 1, 0]), torch.tensor([0, 0, 1]))
        tensor([1, 0, 2])
    """
    order = torch.argsort(keys[0], stable=True)
    for key in keys[1:]:
        order = order[torch.argsort(key[order], stable=True)]
    return order


def rank_in_group(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Rank in its group, first entry and size of the group, of sorted numbers.

    Example:
        >>> rank_in_group(torch.tensor([4, 4, 7]))
        (tensor([0, 1, 0]), tensor([0, 0, 2]), tensor([2, 2, 1]))
    """
    _, count = torch.unique_consecutive(group, return_counts=True)
    start = (count.cumsum(0) - count).repeat_interleave(count)
    rank = torch.arange(group.numel(), device=group.device) - start
    return rank, start, count.repeat_interleave(count)
