from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torch_geometric_rfm.nn.attention_masks import attention_masks
from torch_geometric_rfm.nn.cell_graph import from_cell_graph, to_cell_graph
from torch_geometric_rfm.nn.foreign_key_links import EdgeType
from torch_geometric_rfm.nn.relational_block import RelationalBlock


class HeteroRelationalBlock(torch.nn.Module):
    r"""A :class:`~torch_geometric_rfm.nn.RelationalBlock` over the columns of
    a heterogeneous graph, to be put between the column encoders of a
    relational graph neural network and whatever follows them.

    It starts as the identity unless told otherwise, so it may join a model
    that is trained already.

    Args:
        channels (int): Size of the features of each column, in and out.
        heads (int): Number of heads of each attention.
        ff_channels (int): Hidden size of the feed-forward network.
        attentions (sequence of str, optional): The masks to attend over, in
            this order.
            (default: :obj:`('column', 'feature', 'neighbor', 'full')`)
        fkey_types (sequence of tuple, optional): The edge types that lead from
            a child to its parent, see
            :func:`~torch_geometric_rfm.nn.to_cell_graph`.
            (default: :obj:`None`)
        zero_init (bool, optional): If set to :obj:`True`, the block starts as
            the identity. (default: :obj:`True`)
        **kwargs (optional): Further arguments of
            :class:`~torch_geometric_rfm.nn.RelationalBlock`.

    Shapes:
        - **input:** for each node type features
          :math:`(\textrm{rows}, \textrm{columns}, C)` or
          :math:`(\textrm{rows}, C)`, for each edge type edges :math:`(2, E)`,
          for each node type contexts :math:`(\textrm{rows})` *(optional)*
        - **output:** for each node type features of the same shape

    Example:
        >>> x_dict = {'orders': torch.randn(3, 4, 8), 'users': torch.randn(2, 5, 8)}
        >>> edge_index = torch.tensor([[0, 1, 2], [0, 1, 1]])
        >>> block = HeteroRelationalBlock(8, heads=2, ff_channels=16)
        >>> out = block(x_dict, {('orders', 'f2p_user', 'users'): edge_index})
        >>> out['orders'].size(), out['users'].size()
        (torch.Size([3, 4, 8]), torch.Size([2, 5, 8]))
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        ff_channels: int,
        attentions: Sequence[str] = ('column', 'feature', 'neighbor', 'full'),
        fkey_types: Sequence[EdgeType] | None = None,
        zero_init: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.fkey_types = fkey_types
        self.block = RelationalBlock(
            channels,
            heads,
            ff_channels,
            attentions=attentions,
            zero_init=zero_init,
            **kwargs,
        )

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.block.reset_parameters()

    def forward(
        self,
        x_dict: Mapping[str, Tensor],
        edge_index_dict: Mapping[EdgeType, Tensor],
        batch_dict: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        r"""Runs the block.

        Args:
            x_dict (dict): For each node type its features
                :obj:`[rows, columns, channels]` or :obj:`[rows, channels]`.
            edge_index_dict (dict): For each edge type its edges :obj:`[2, E]`.
            batch_dict (dict, optional): For each node type the context of each
                row; one context if not given. (default: :obj:`None`)
        """
        cells = to_cell_graph(x_dict, edge_index_dict, batch_dict, self.fkey_types)
        masks = attention_masks(cells, list(self.block.attentions))
        return from_cell_graph(self.block(cells.x, masks), cells)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.block.channels}, '
            f'heads={self.block.heads}, ff_channels={self.block.ff_channels}, '
            f'attentions={list(self.block.attentions)})'
        )
