from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask
from torch_geometric_rfm.nn.masks.build_blocks import BlockClass, build_blocks
from torch_geometric_rfm.nn.masks.edge_mask import EdgeMask
from torch_geometric_rfm.nn.masks.id_mask import IdMask
from torch_geometric_rfm.nn.masks.row_gather import gather_rows


@dataclass(eq=False)
class BlockedMask(AttentionMask):
    r"""An attention mask cut into blocks of queries and keys, whose work is in
    proportion to the pairs that exist.

    Groups of cells that all attend to each other are a block each, without a
    mask inside. Otherwise a block holds some neighbouring queries over the
    union of their keys. Blocks of similar size share one attention.

    Args:
        ids (IdMask): The mask.
        batch (Tensor): Context of each cell :obj:`[N]`, in ascending order.
        num_contexts (int): Number of contexts.
        queries (Tensor, optional): The cells :obj:`[M]` that attend, none
            twice, all if not given. (default: :obj:`None`)
        block_size (int, optional): Queries of a block that needs a mask
            inside. (default: :obj:`32`)

    Example:
        >>> column = torch.tensor([0, 1, 0, 0])
        >>> batch = torch.tensor([0, 0, 0, 1])
        >>> mask = BlockedMask(IdMask(column, column), batch, num_contexts=2)
        >>> mask.num_keys
        tensor([2, 1, 2, 1])
    """

    ids: IdMask
    batch: Tensor
    num_contexts: int
    queries: Tensor | None = None
    block_size: int = 32

    def __post_init__(self) -> None:
        self.num_cells = self.ids.num_cells
        queries = self.queries
        self.num_queries = self.num_cells if queries is None else queries.numel()
        self.blocks = build_blocks(
            self.ids, self.batch, self.num_contexts, queries, self.block_size
        )
        self.num_keys = self.blocks.num_keys

    @property
    def num_pairs(self) -> int:
        r"""Number of pairs of query and key that are computed."""
        return sum(
            block.num_blocks * block.num_queries * block.num_keys
            for block in self.blocks.classes
        )

    def to_edge_index(self) -> Tensor:
        r"""See :meth:`AttentionMask.to_edge_index`."""
        edge_index = self.ids.to_edge_index(self.batch)
        if self.queries is None:
            return edge_index
        return EdgeMask(edge_index, self.num_cells).select(self.queries).edge_index

    def select(self, queries: Tensor) -> 'BlockedMask':
        r"""See :meth:`AttentionMask.select`."""
        if self.queries is not None:
            queries = self.queries[queries]
        count = torch.bincount(self.batch[queries], minlength=1)
        block_size = min(max(int(count.max()), 1), 32)
        return BlockedMask(self.ids, self.batch, self.num_contexts, queries, block_size)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        r"""See :meth:`AttentionMask.attend`."""
        classes, query_map, key_map, _ = self.blocks
        heads = query.shape[1:]
        q = gather_rows(query.flatten(1), query_map)
        k = gather_rows(key.flatten(1), key_map)
        v = gather_rows(value.flatten(1), key_map)
        height = [block.num_blocks * block.num_queries for block in classes]
        width = [block.num_blocks * block.num_keys for block in classes]
        parts = zip(
            classes, q.split(height), k.split(width), v.split(width), strict=True
        )
        outs = [_attend(*part, heads, scale) for part in parts]
        out = gather_rows(torch.cat(outs or [v]), query_map.flip())
        return out.unflatten(1, heads)


def _attend(
    block: BlockClass, q: Tensor, k: Tensor, v: Tensor, heads: torch.Size, scale: float
) -> Tensor:
    if block.num_keys == 1 and block.bias is None:
        return v
    q, k, v = (
        src.view(block.num_blocks, -1, *heads).transpose(1, 2)
        for src in (q, k, v)  # [blocks, H, queries or keys, D]
    )
    bias = None if block.bias is None else block.bias.to(q.dtype)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return out.transpose(1, 2).flatten(2).flatten(0, 1)  # [blocks * queries, C]
