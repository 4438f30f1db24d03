import torch
from torch import Tensor

from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.masking_view import (
    MaskingView,
    lexsort,
    rank_in_group,
)
from torch_geometric_rfm.transforms.masking.random_draws import (
    ROUND,
    ROW,
    TIE,
    uniform,
)


class NeighborhoodStrategy(MaskStrategy):
    r"""Rows with their children, until the share :obj:`rate` of the cells is reached.

    Rows are taken in random order, each with its children in random order behind
    it, and hide all of their cells. The row that would go beyond the share is
    hidden with the probability that makes the expected share exactly :obj:`rate`,
    and ends it: the children of a hub do not empty a context.
    """

    name = 'neighborhood'

    def cells(self, view: MaskingView) -> Tensor:
        r"""The chosen cells :obj:`[N]`."""
        num_rows = view.context.numel()
        size = torch.bincount(view.row[view.eligible], minlength=num_rows).double()
        own = uniform(view.row_key, ROW)
        child, parent = view.links
        # A row comes with the first of itself and its parents.
        first = own.scatter_reduce(0, child, own[parent], 'amin')
        tie = torch.where(first == own, -1.0, uniform(view.row_key, TIE))
        order = lexsort(tie, first, view.context)
        size, context = size[order], view.context[order]
        _, start, _ = rank_in_group(context)
        before = size.cumsum(0) - size
        before = before - before[start]
        total = torch.zeros_like(view.rate).index_add_(0, context, size)
        left = (view.rate * total)[context] - before
        chosen = view.eligible.new_zeros(num_rows)
        chosen[order] = uniform(view.row_key, ROUND)[order] * size < left
        return view.eligible & chosen[view.row]
