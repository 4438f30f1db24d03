from torch import Tensor

from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.masking_view import MaskingView
from torch_geometric_rfm.transforms.masking.random_draws import ROW, uniform


class RowStrategy(MaskStrategy):
    r"""Each row with probability :obj:`rate`, and all cells of it."""

    name = 'row'

    def cells(self, view: MaskingView) -> Tensor:
        r"""The chosen cells :obj:`[N]`."""
        chosen = uniform(view.row_key, ROW) < view.rate[view.context]
        return view.eligible & chosen[view.row]
