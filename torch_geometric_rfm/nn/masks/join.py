import torch
from torch import Tensor


def join(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    r"""Positions of all pairs of equal values, by position in :obj:`left`.

    Args:
        left (Tensor): Integers :obj:`[L]`.
        right (Tensor): Integers :obj:`[R]`.

    Example:
        >>> join(torch.tensor([7, 8]), torch.tensor([9, 7, 7]))
        (tensor([0, 0]), tensor([1, 2]))
    """
    value, order = right.sort(stable=True)
    start = torch.searchsorted(value, left)
    count = torch.searchsorted(value, left, right=True) - start
    first = count.cumsum(0) - count
    i = torch.repeat_interleave(count)
    rank = torch.arange(i.numel(), device=left.device) - first[i]
    return i, order[start[i] + rank]


def ragged_lists(owner: Tensor, item: Tensor, num_owners: int) -> Tensor:
    r"""The items of each owner side by side, filled up with -1.

    Args:
        owner (Tensor): Integers :obj:`[E]`.
        item (Tensor): Integers :obj:`[E]`.
        num_owners (int): Number of owners :math:`N`.

    Returns:
        Tensor: :obj:`[N, P]`, where :math:`P` is the longest list.

    Example:
        >>> ragged_lists(torch.tensor([0, 0, 2]), torch.tensor([5, 6, 7]), 3)
        tensor([[ 5,  6],
                [-1, -1],
                [ 7, -1]])
    """
    owner, order = owner.sort(stable=True)
    count = torch.bincount(owner, minlength=num_owners)
    place = torch.arange(owner.numel(), device=owner.device)
    place = place - (count.cumsum(0) - count)[owner]
    width = int(count.max()) if num_owners > 0 else 0
    out = item.new_full((num_owners, width), -1)
    out[owner, place] = item[order]
    return out
