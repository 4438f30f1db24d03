import torch
from torch import Tensor
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType


def _mix(x: Tensor) -> Tensor:
    # The finaliser of SplitMix64; '>>' of int64 is arithmetic, hence the masks.
    x = (x ^ ((x >> 30) & (2**34 - 1))) * -0x40A7B892E31B1A47
    x = (x ^ ((x >> 27) & (2**37 - 1))) * -0x6B2FB644ECCEEE15
    return x ^ ((x >> 31) & (2**33 - 1))


def _uniform(seed: int, input_id: Tensor, position: Tensor) -> Tensor:
    key = _mix(input_id + _mix(torch.full_like(input_id, seed) + 0x632BE5AB))
    bits = _mix(_mix(key + position) + position)
    return ((bits >> 11) & (2**53 - 1)).double() * 2.0**-53


@functional_transform('mask_cells')
class MaskCells(BaseTransform):
    r"""Hides further cells of a context, to be predicted from the others
    (functional name: :obj:`mask_cells`).

    The label of the seed row is hidden before and stays so; cells are only
    added to :obj:`mask`. Which ones depends on :obj:`seed`, the
    :obj:`input_id` of the context and the position of the cell in it, not on
    the batch or the worker.

    Args:
        strategy (str, optional): With :obj:`'target'`, nothing is hidden
            besides the label. With :obj:`'uniform'`, each visible number,
            boolean and datetime is hidden with probability :obj:`rate`.
            (default: :obj:`'target'`)
        rate (float, optional): The probability of hiding a cell, strictly
            between 0 and 1. (default: :obj:`0.15`)
        seed (int, optional): The seed of all draws. (default: :obj:`0`)

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=64)
        >>> hidden = MaskCells('uniform', rate=0.5)(cells)
        >>> bool(hidden.mask.sum() > cells.mask.sum())
        True
    """

    def __init__(
        self, strategy: str = 'target', rate: float = 0.15, seed: int = 0
    ) -> None:
        if strategy not in ('target', 'uniform'):
            raise ValueError(
                f"'strategy' must be 'target' or 'uniform' (got '{strategy}')"
            )
        if not 0.0 < rate < 1.0:
            raise ValueError(
                f"'rate' must lie strictly between 0 and 1 (got {rate}); use "
                "strategy='target' to hide the label only"
            )
        self.strategy = strategy
        self.rate = rate
        self.seed = seed

    def forward(self, data: CellData) -> CellData:
        r"""Hides the cells of one context or of a batch.

        Args:
            data (CellData): The contexts.
        """
        if not isinstance(data, CellData):
            raise TypeError(f"'data' must be a CellData (got {type(data).__name__})")
        if self.strategy == 'target':
            return data

        batch = data.batch_or_zeros
        count = torch.bincount(batch, minlength=data.num_contexts)
        first = count.cumsum(0) - count
        position = torch.arange(batch.numel(), device=batch.device) - first[batch]
        draw = _uniform(self.seed, data.input_id[batch], position)
        scalar = data.cell_type <= CellType.DATETIME
        chosen = scalar & ~data.mask & (draw < self.rate)

        truth = (data.value > 0).to(data.value.dtype)
        truth = torch.where(data.cell_type == CellType.BOOLEAN, truth, data.value)
        data.target = torch.where(chosen, truth, data.target)
        data.mask = data.mask | chosen
        data.value = data.value.masked_fill(chosen, 0.0)
        data.relative_time = data.relative_time.masked_fill(chosen, 0.0)
        return data

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(strategy='{self.strategy}', rate={self.rate})"
        )
