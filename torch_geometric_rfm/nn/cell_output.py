from dataclasses import dataclass

import torch
from torch import Tensor

from torch_geometric_rfm.nn.link_candidates import LinkScores
from torch_geometric_rfm.nn.number_head import number_quantiles


@dataclass
class CellOutput:
    r"""What all heads of a model predict for :math:`M` cells.

    Args:
        index (Tensor): The cells :obj:`[M]`, in rising order.
        cell_type (Tensor): Their types :obj:`[M]`.
        value (Tensor): Values :obj:`[M]`: normalised numbers (the median, where the
            head has one) and datetimes, logits of booleans, zero for strings.
        embedding (Tensor): Embeddings :obj:`[S, text_channels]` of the cells among
            them that are strings, in their order.
        number (Tensor): Outputs :obj:`[P, K]` of the head of numbers for the cells
            that are numbers, in their order.
        number_head (str): The head of numbers.
        edges (Tensor, optional): The edges :obj:`[P, 33]` of their bins, for a
            binned head. (default: :obj:`None`)
        links (LinkScores, optional): Scores of the candidates of hidden links, of a
            model with :obj:`link_head`. (default: :obj:`None`)

    Example:
        >>> from torch_geometric_rfm.nn import RelationalTransformer
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_contexts=2, text_channels=384)
        >>> model = RelationalTransformer.small(number_head='quantile')
        >>> out = model(cells, all_heads=True)
        >>> out.quantiles([0.05, 0.95]).size()
        torch.Size([2, 2])
    """

    index: Tensor
    cell_type: Tensor
    value: Tensor
    embedding: Tensor
    number: Tensor
    number_head: str
    edges: Tensor | None = None
    links: LinkScores | None = None

    def quantiles(self, levels: list[float]) -> Tensor:
        r"""Quantiles :obj:`[P, len(levels)]` of the numbers, normalised.

        Raises:
            ValueError: If the head of numbers predicts values alone, or not these
                levels.
        """
        edges = self.number if self.edges is None else self.edges
        wanted = torch.tensor(levels, dtype=torch.double, device=self.number.device)
        return number_quantiles(self.number, self.number_head, wanted, edges)
