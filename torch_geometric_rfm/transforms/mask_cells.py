from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.transforms.masking.arguments import (
    check_cell_types,
    check_columns,
    check_corruption,
    check_rate,
    check_strategies,
)
from torch_geometric_rfm.transforms.masking.cell_corruption import put_random_values
from torch_geometric_rfm.transforms.masking.cell_masking import (
    hide_cells,
    hide_links,
    keep_truth,
    view_cells,
)
from torch_geometric_rfm.transforms.masking.choice import choose, draw_rates
from torch_geometric_rfm.transforms.masking.hetero_masking import HeteroMasking
from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.random_draws import context_keys
from torch_geometric_rfm.transforms.masking.target import TargetStrategy


@functional_transform('mask_cells')
class MaskCells(BaseTransform):
    r"""Hides further cells, or links, to be predicted from the others
    (functional name: :obj:`mask_cells`).

    Of a :class:`~torch_geometric_rfm.data.CellData` it hides cells of each context,
    and keeps what they held in :obj:`target` and :obj:`target_text_index`. The label
    of the seed row is hidden before and stays so; hidden cells are only added. What
    is hidden depends on :obj:`seed`, and on the :obj:`epoch` and the
    :obj:`input_id` of the context, not on the batch or the worker.

    Of a :class:`~torch_geometric.data.HeteroData` it hides entries of :obj:`tf` or
    :obj:`x`, as stated in :class:`~torch_geometric_rfm.transforms.HeteroMasking`.

    .. list-table::
       :widths: 20 80

       * - :obj:`'target'`
         - nothing but the label
       * - :obj:`'uniform'`
         - each cell with probability :obj:`rate`
       * - :obj:`'column'`
         - the share :obj:`rate` of each column of a context, up to rounding
       * - :obj:`'row'`
         - each row with probability :obj:`rate`, and all cells of it
       * - :obj:`'neighborhood'`
         - rows with their children, until the share :obj:`rate` of the cells is
           reached
       * - :obj:`'foreign_key'`
         - each link to a parent row with probability :obj:`rate`, and no cell; it
           is moved from :obj:`fkey_index` to :obj:`fkey_target_index`

    Args:
        strategy (str, MaskStrategy, dict or list, optional): The strategy, or
            strategies and weights, by which each context draws one.
            (default: :obj:`'target'`)
        rate (float or tuple, optional): The share to hide, strictly between 0 and
            1, or a range from which each context draws its own.
            (default: :obj:`(0.15, 0.3)`)
        seed (int, optional): The seed of all draws. (default: :obj:`0`)
        corruption (tuple, optional): The shares of chosen cells that are hidden,
            that show a random value of their column, and that show their own; BERT
            has :obj:`(0.8, 0.1, 0.1)`. The latter two are marked in
            :obj:`shown_mask`. (default: :obj:`(1.0, 0.0, 0.0)`)
        cell_types (list, optional): Types of cells that may be hidden, as
            :obj:`'number'`; all if not given. (default: :obj:`None`)
        columns (list, optional): Columns that may be hidden, as
            :obj:`'<column> of <table>'`; all if not given. (default: :obj:`None`)

    Raises:
        ValueError: If an argument is out of range, or a strategy unknown.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=64)
        >>> hidden = MaskCells('uniform', rate=0.5)(cells)
        >>> bool(hidden.mask.sum() > cells.mask.sum())
        True
        >>> MaskCells({'column': 2, 'row': 1, 'foreign_key': 1})
        MaskCells(strategy={column: 0.5, row: 0.25, foreign_key: 0.25},
                  rate=(0.15, 0.3))
    """

    def __init__(
        self,
        strategy: str
        | MaskStrategy
        | Mapping[str, float]
        | Sequence[tuple[str | MaskStrategy, float]] = 'target',
        rate: float | tuple[float, float] = (0.15, 0.3),
        seed: int = 0,
        corruption: tuple[float, float, float] = (1.0, 0.0, 0.0),
        cell_types: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        self.strategies = check_strategies(strategy)
        self.rate = check_rate(rate)
        self.seed = seed
        self.corruption = check_corruption(corruption)
        self.cell_types = check_cell_types(cell_types)
        self.columns = check_columns(columns)

    def forward(self, data: CellData | HeteroData) -> Any:
        r"""Hides the cells of one context, of a batch of them, or of a graph.

        Args:
            data (CellData or HeteroData): The contexts or the graph.
        """
        if isinstance(data, HeteroData):
            return HeteroMasking(data, self.cell_types, self.columns)(
                self.strategies, self.rate, self.corruption, self.seed
            )
        if not isinstance(data, CellData):
            raise TypeError(
                f"'data' must be a CellData or HeteroData (got {type(data).__name__})"
            )
        if all(isinstance(s, TargetStrategy) for s, _ in self.strategies):
            return data

        keys = context_keys(self.seed, _epoch(data), data.input_id)
        rate = draw_rates(keys, *self.rate)
        view = view_cells(data, keys, rate, self.cell_types, self.columns)
        choice = choose(view, keys, self.strategies, self.corruption)
        keep_truth(data, choice.cells)
        if self.corruption[1] > 0.0:
            choice = put_random_values(data, view, choice)
        hide_cells(data, choice, keeps_some=self.corruption[0] < 1.0)
        if any(strategy.hides_links for strategy, _ in self.strategies):
            hide_links(data, choice.links)
        return data

    def __repr__(self) -> str:
        name = f"'{self.strategies[0][0]}'"
        if len(self.strategies) > 1:
            pairs = [f'{strategy}: {weight:g}' for strategy, weight in self.strategies]
            name = f'{{{", ".join(pairs)}}}'
        low, high = self.rate
        args = [f'strategy={name}', f'rate={low if low == high else self.rate}']
        if self.corruption[0] < 1.0:
            args.append(f'corruption={self.corruption}')
        return f'{self.__class__.__name__}({", ".join(args)})'


def _epoch(data: CellData) -> Tensor:
    epoch = data.get('epoch')
    return torch.zeros_like(data.input_id) if epoch is None else epoch
