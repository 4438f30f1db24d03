from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.utils import softmax

from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask


@dataclass(eq=False)
class EdgeMask(AttentionMask):
    r"""An attention mask as edges from keys to queries.

    Args:
        edge_index (Tensor): Edges :obj:`[2, E]`.
        num_cells (int): Number of cells :math:`N`.
        num_queries (int, optional): Number of queries :math:`M`, as many as
            cells if negative. (default: :obj:`-1`)

    Example:
        >>> EdgeMask(torch.tensor([[0, 1], [1, 1]]), num_cells=2).num_keys
        tensor([0, 2])
    """

    edge_index: Tensor
    num_cells: int
    num_queries: int = -1

    def __post_init__(self) -> None:
        edge_index = self.edge_index
        if not isinstance(edge_index, Tensor) or edge_index.dtype != torch.long:
            kind = getattr(edge_index, 'dtype', type(edge_index).__name__)
            raise TypeError(
                "'edge_index' must be a LongTensor [2, E], a BoolTensor [B, S, S] "
                f"or a mask of 'attention_masks' (got {kind})"
            )
        if edge_index.dim() != 2 or edge_index.size(0) != 2:
            raise ValueError(
                f"'edge_index' must be of shape [2, E] (got {list(edge_index.shape)})"
            )
        if self.num_queries < 0:
            self.num_queries = self.num_cells
            if edge_index.numel() > 0 and not torch.compiler.is_compiling():
                self._check_range()

    def _check_range(self) -> None:
        low, high = (int(bound) for bound in self.edge_index.aminmax())
        if low < 0 or high >= self.num_cells:
            raise ValueError(
                f"'edge_index' must lie in [0, {self.num_cells}), the number of "
                f'cells (got {low} to {high})'
            )

    @cached_property
    def num_keys(self) -> Tensor:  # type: ignore[override]
        r"""Number of keys of each query :obj:`[M]`."""
        out = self.edge_index.new_zeros(self.num_queries)
        target = self.edge_index[1]
        return out.scatter_add(0, target, torch.ones_like(target))

    def to_edge_index(self) -> Tensor:
        r"""The edges :obj:`[2, E]`."""
        return self.edge_index

    def select(self, queries: Tensor) -> 'EdgeMask':
        r"""The edges of some queries."""
        rank = queries.new_full((self.num_queries,), -1)
        rank[queries] = torch.arange(queries.numel(), device=queries.device)
        target = rank[self.edge_index[1]]
        edge_index = torch.stack([self.edge_index[0], target])
        return EdgeMask(edge_index[:, target >= 0], self.num_cells, queries.numel())

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        r"""See :meth:`AttentionMask.attend`."""
        source, target = self.edge_index
        logits = (query[target] * key[source]).sum(dim=-1) * scale  # [E, H]
        alpha = softmax(logits, target, num_nodes=query.size(0))
        out = value[source] * alpha.unsqueeze(-1)  # [E, H, D]
        return torch.zeros_like(query).index_add(0, target, out.to(query.dtype))
