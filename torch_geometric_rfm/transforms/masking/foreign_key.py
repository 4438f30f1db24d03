from torch import Tensor

from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.masking_view import MaskingView
from torch_geometric_rfm.transforms.masking.random_draws import LINK, uniform


class ForeignKeyStrategy(MaskStrategy):
    r"""Each link from a row to its parent with probability :obj:`rate`; no cell."""

    name = 'foreign_key'
    hides_links = True

    def links(self, view: MaskingView) -> Tensor:
        r"""The chosen links :obj:`[E]`."""
        draw = uniform(view.link_key, LINK)
        return view.link_eligible & (draw < view.rate[view.link_context])
