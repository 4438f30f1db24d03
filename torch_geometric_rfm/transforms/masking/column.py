from torch import Tensor

from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.masking_view import (
    MaskingView,
    lexsort,
    rank_in_group,
)
from torch_geometric_rfm.transforms.masking.random_draws import CELL, ROUND, uniform


class ColumnStrategy(MaskStrategy):
    r"""The share :obj:`rate` of each column, so that each table has its share too.

    Of :math:`n` cells of a column in a context, :math:`\lfloor rn + u \rfloor` are
    chosen at random, with one :math:`u \sim \mathcal{U}(0, 1)` a column: in
    expectation exactly :math:`rn`, and never further than one cell from it. A
    column with a single cell is chosen with probability :math:`r`.
    """

    name = 'column'

    def cells(self, view: MaskingView) -> Tensor:
        r"""The chosen cells :obj:`[N]`."""
        index = view.eligible.nonzero().view(-1)
        context, column = view.cell_context[index], view.column[index]
        draw = uniform(view.cell_key[index], CELL)
        order = lexsort(draw, column, context)
        index, column, context = index[order], column[order], context[order]
        num_columns = int(column.max()) + 1 if column.numel() else 1
        rank, start, count = rank_in_group(context * num_columns + column)
        # A column's own draw is that of its first cell, as columns are numbered
        # anew in every batch.
        extra = uniform(view.cell_key[index], ROUND)[start]
        share = view.rate[context] * count
        chosen = view.eligible.new_zeros(view.eligible.numel())
        chosen[index] = rank < (share + extra).floor()
        return chosen
