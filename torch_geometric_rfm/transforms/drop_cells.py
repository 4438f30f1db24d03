from collections.abc import Mapping, Sequence

import torch
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.select_cells import select_cells
from torch_geometric_rfm.transforms.masking.arguments import (
    check_rate,
    check_strategies,
)
from torch_geometric_rfm.transforms.masking.cell_masking import view_cells
from torch_geometric_rfm.transforms.masking.choice import choose, draw_rates
from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.random_draws import context_keys

# Other draws than those of a MaskCells of the same seed.
_OWN_SEED = 0x64726F70


@functional_transform('drop_cells')
class DropCells(BaseTransform):
    r"""Leaves out cells of contexts at random (functional name:
    :obj:`drop_cells`).

    It keeps a model from learning by heart what a context of a training row holds,
    and makes training faster, as fewer cells are left. Cells that are to be
    predicted stay, and so do rows and links, without their cells. What is left out
    depends on :obj:`seed`, and on the :obj:`epoch` and the :obj:`input_id` of the
    context, not on the batch or the worker.

    Args:
        strategy (str, MaskStrategy, dict or list, optional): What is left out
            together: lone cells (:obj:`'uniform'`), rows (:obj:`'row'`), or another
            strategy of :class:`~torch_geometric_rfm.transforms.MaskCells`; or
            strategies and weights, by which each context draws one.
            (default: :obj:`{'uniform': 1, 'row': 1}`)
        rate (float or tuple, optional): The share to leave out, strictly between 0
            and 1, or a range from which each context draws its own.
            (default: :obj:`(0.01, 0.6)`)
        seed (int, optional): The seed of all draws. (default: :obj:`0`)

    Raises:
        ValueError: If the rate is out of range, or a strategy unknown or one that
            chooses links.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=64)
        >>> left = DropCells('uniform', rate=0.5)(cells)
        >>> left.num_nodes < 64, int(left.mask.sum())
        (True, 1)
    """

    def __init__(
        self,
        strategy: str
        | MaskStrategy
        | Mapping[str, float]
        | Sequence[tuple[str | MaskStrategy, float]] = (('uniform', 1), ('row', 1)),
        rate: float | tuple[float, float] = (0.01, 0.6),
        seed: int = 0,
    ) -> None:
        self.strategies = check_strategies(strategy)
        links = [str(one) for one, _ in self.strategies if one.hides_links]
        if links:
            raise ValueError(
                f"'strategy' must choose cells to be left out (got {links}, which "
                'chooses links)'
            )
        self.rate = check_rate(rate)
        self.seed = seed

    @classmethod
    def up_to(cls, rate: float, seed: int = 0) -> 'DropCells':
        r"""Leaves out a share of each context that is drawn up to :obj:`rate`.

        Args:
            rate (float): The largest share, strictly between 0 and 1.
            seed (int, optional): The seed of all draws. (default: :obj:`0`)

        Example:
            >>> DropCells.up_to(0.6).rate
            (0.01, 0.6)
        """
        return cls(rate=(min(0.01, rate), rate), seed=seed)

    def forward(self, data: CellData) -> CellData:
        r"""Leaves out cells of one context, or of a batch of them.

        Args:
            data (CellData): The contexts.
        """
        if not isinstance(data, CellData):
            raise TypeError(f"'data' must be a CellData (got {type(data).__name__})")
        epoch = data.get('epoch')
        if epoch is None:
            epoch = torch.zeros_like(data.input_id)
        keys = context_keys(self.seed + _OWN_SEED, epoch, data.input_id)
        rate = draw_rates(keys, *self.rate)
        view = view_cells(data, keys, rate, frozenset(CellType), None)
        dropped = choose(view, keys, self.strategies, (1.0, 0.0, 0.0)).cells
        return select_cells(data, (~dropped).nonzero().view(-1))

    def __repr__(self) -> str:
        name = self.__class__.__name__
        names = {str(strategy): round(w, 3) for strategy, w in self.strategies}
        return f'{name}({names}, rate={self.rate})'
