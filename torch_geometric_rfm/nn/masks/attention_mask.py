from abc import ABC, abstractmethod

from torch import Tensor


class AttentionMask(ABC):
    r"""An encoding of an attention mask, prepared once for all layers.

    All encodings of a mask give the same attention. Queries are all cells, or
    some of them after :meth:`select`; keys are all cells.
    """

    num_cells: int
    r"""Number of cells :math:`N`, the keys."""
    num_queries: int
    r"""Number of queries :math:`M`."""
    num_keys: Tensor
    r"""Number of keys of each query :obj:`[M]`."""

    @abstractmethod
    def to_edge_index(self) -> Tensor:
        r"""The same mask as edges :obj:`[2, E]` from keys to queries."""

    @abstractmethod
    def select(self, queries: Tensor) -> 'AttentionMask':
        r"""The same mask for some of its queries, in the given order.

        Args:
            queries (Tensor): The cells :obj:`[M]` that attend, none twice.
        """

    @abstractmethod
    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        r"""Values averaged by the softmax over the keys of each query.

        Args:
            query (Tensor): :obj:`[M, H, D]`.
            key (Tensor): :obj:`[N, H, D]`.
            value (Tensor): :obj:`[N, H, D]`.
            scale (float): Factor of the logits.

        Returns:
            Tensor: :obj:`[M, H, D]`, zero for queries without keys.
        """
