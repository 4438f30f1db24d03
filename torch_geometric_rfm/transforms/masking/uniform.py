from torch import Tensor

from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.masking_view import MaskingView
from torch_geometric_rfm.transforms.masking.random_draws import CELL, uniform


class UniformStrategy(MaskStrategy):
    r"""Each cell with probability :obj:`rate`, independently of the others."""

    name = 'uniform'

    def cells(self, view: MaskingView) -> Tensor:
        r"""The chosen cells :obj:`[N]`."""
        draw = uniform(view.cell_key, CELL)
        return view.eligible & (draw < view.rate[view.cell_context])
