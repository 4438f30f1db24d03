import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from torch_geometric_rfm.nn.dense_mask import DenseMask, dense_index
from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask
from torch_geometric_rfm.nn.masks.edge_mask import EdgeMask
from torch_geometric_rfm.nn.masks.flex_blocks import block_lists, padded_size
from torch_geometric_rfm.nn.masks.id_mask import IdMask

# The kernel compares all ids of a query with all of a key.
_MAX_COMPARISONS = 64


def has_flex(device: torch.device) -> bool:
    r"""Whether FlexAttention runs on a device: on CUDA with Triton, and on the
    CPU without gradients and without any gain. Warns once where Triton is
    missing.
    """
    if device.type != 'cuda' or _has_triton():
        return True
    _warn_of_missing_triton()
    return False


def _has_triton() -> bool:
    from torch.utils._triton import has_triton

    return bool(has_triton())


@functools.cache
def _warn_of_missing_triton() -> None:
    warnings.warn(
        'FlexAttention needs Triton, which is not installed or does not support '
        "this GPU; masks are 'dense' instead, which is slower and takes more memory",
        stacklevel=2,
    )


@functools.cache
def _compiled() -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(flex_attention)
    return compiled


def _uncompiled(*args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        # It advises to compile, which is of no use on the CPU.
        warnings.simplefilter('ignore')
        return flex_attention(*args, **kwargs)


@dataclass(eq=False)
class FlexMask(AttentionMask):
    r"""An attention mask for FlexAttention: lists of the blocks of queries and
    keys that share an id, built on the device of the ids.

    No tensor has an entry for every pair of cells. Where cells fall into
    groups, they are sorted by group within their context, which leaves most
    blocks empty.

    Args:
        ids (IdMask): The mask.
        batch (Tensor): Context of each cell :obj:`[N]`, in ascending order.
        num_contexts (int): Number of contexts.
        block_size (int, optional): Queries and keys of a block.
            (default: :obj:`128`)

    Example:
        >>> column = torch.tensor([0, 1, 0, 0])
        >>> batch = torch.tensor([0, 0, 0, 1])
        >>> mask = FlexMask(IdMask(column, column), batch, num_contexts=2)
        >>> mask.block_mask.shape
        (2, 1, 128, 128)
    """

    ids: IdMask
    batch: Tensor
    num_contexts: int
    block_size: int = 128

    def __post_init__(self) -> None:
        if self.block_size < 1 or self.block_size & (self.block_size - 1):
            raise ValueError(
                f"'block_size' must be a power of two (got {self.block_size})"
            )
        if not self.fits(self.ids):
            raise ValueError(
                "'ids' must hold few ids a cell, of which at most "
                f'{_MAX_COMPARISONS} pairs are compared '
                f'(got {list(self.ids.query.shape)} and {list(self.ids.key.shape)}); '
                "take the 'dense' or the 'blocked' mask"
            )
        self.num_cells = self.num_queries = self.batch.numel()
        count = torch.bincount(self.batch, minlength=self.num_contexts)
        largest = int(count.max()) if count.numel() > 0 else 0
        self.size = padded_size(largest, self.block_size)
        position = dense_index(self.batch, self.num_contexts, self.size)
        if self.ids.is_partition:
            order = self.ids.query.sort(stable=True).indices
            order = order[self.batch[order].sort(stable=True).indices]
            position = torch.empty_like(position).scatter_(0, order, position)
        self.position = position  # [N], in the padded layout
        self.block_mask = self._block_mask()

    @staticmethod
    def fits(ids: IdMask) -> bool:
        r"""Whether a mask has few enough ids a cell."""
        width = [
            side.size(1) if side.dim() == 2 else 1 for side in (ids.query, ids.key)
        ]
        return width[0] * width[1] <= _MAX_COMPARISONS

    def _block_mask(self) -> BlockMask:
        query_cell, query_id, key_cell, key_id = self.ids.entries(self.batch)
        known, number = torch.cat([query_id, key_id]).unique(return_inverse=True)
        query_id, key_id = number.split([query_id.numel(), key_id.numel()])
        query, key = self.position[query_cell], self.position[key_cell]
        sides = self.ids.ids()
        lists = block_lists(
            query,
            query_id,
            key,
            key_id,
            (self.num_contexts, self.size, self.block_size),
            exact=min(side.size(1) for side in sides) <= 1,
        )
        layout = (self.num_contexts, self.size)
        mask_mod = shared_id_mod(
            _spread(query_cell, query, query_id, layout, sides[0].size(1), -1),
            _spread(key_cell, key, key_id, layout, sides[1].size(1), -2),
        )
        return BlockMask.from_kv_blocks(
            *lists,
            BLOCK_SIZE=self.block_size,
            mask_mod=mask_mod,
            seq_lengths=(self.size, self.size),
        )

    @cached_property
    def num_keys(self) -> Tensor:  # type: ignore[override]
        r"""Number of keys of each query :obj:`[N]`."""
        query, query_id, key, key_id = self.ids.entries(self.batch)
        out = self.batch.new_zeros(self.num_cells)
        if min(side.size(1) for side in self.ids.ids()) > 1:
            # Cells may share several ids.
            target = self.to_edge_index()[1]
            return out.scatter_add(0, target, torch.ones_like(target))
        known, count = key_id.unique(return_counts=True)
        if known.numel() == 0:
            return out
        place = torch.searchsorted(known, query_id).clamp(max=known.numel() - 1)
        count = torch.where(known[place] == query_id, count[place], 0)
        return out.scatter_add(0, query, count)

    @cached_property
    def _keyless(self) -> Tensor:
        return (self.num_keys == 0).view(-1, 1, 1)

    def to_edge_index(self) -> Tensor:
        r"""See :meth:`AttentionMask.to_edge_index`."""
        return self.ids.to_edge_index(self.batch)

    def select(self, queries: Tensor) -> AttentionMask:
        r"""See :meth:`AttentionMask.select`. The encoding is dense, of as many
        lines as a context has queries.
        """
        edges = EdgeMask(self.ids.to_edge_index(self.batch, queries), self.num_cells)
        return DenseMask.from_edges(edges.select(queries), self.batch, queries)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        r"""See :meth:`AttentionMask.attend`."""
        if query.size(0) == 0:
            return query
        on_cuda = query.is_cuda
        if not on_cuda and torch.is_grad_enabled() and query.requires_grad:
            raise RuntimeError(
                "FlexAttention has no gradients on the CPU; take the 'blocked' mask"
            )
        width = query.size(2)
        # Kernels want a power of two of at least 16 channels a head.
        padding = max(16, 1 << (width - 1).bit_length()) - width
        q, k, v = (self._pad(F.pad(src, (0, padding))) for src in (query, key, value))
        attention = _compiled() if on_cuda else _uncompiled
        out = attention(q, k, v, block_mask=self.block_mask, scale=scale)
        out = out.transpose(1, 2).flatten(0, 1)  # [B * S, H, D]
        out = out.index_select(0, self.position)[..., :width]
        return out.masked_fill(self._keyless, 0.0)

    def _pad(self, src: Tensor) -> Tensor:
        out = src.new_zeros(self.num_contexts * self.size, *src.shape[1:])
        out = out.index_copy(0, self.position, src)
        return out.unflatten(0, (self.num_contexts, self.size)).transpose(1, 2)


def _spread(
    cell: Tensor,
    position: Tensor,
    ids: Tensor,
    layout: tuple[int, int],
    width: int,
    fill: int,
) -> Tensor:
    # Ids [B, S, P] of the padded layout, of a width that seldom changes.
    first = torch.cat([cell.new_ones(1, dtype=torch.bool), cell[1:] != cell[:-1]])
    place = torch.arange(cell.numel(), device=cell.device)
    place = place - torch.where(first[: cell.numel()], place, 0).cummax(0).values
    width = 1 if width <= 1 else -(-width // 4) * 4
    out = ids.new_full((layout[0] * layout[1], width), fill, dtype=torch.int32)
    out[position, place] = ids.int()
    return out.view(*layout, width)


def shared_id_mod(query: Tensor, key: Tensor) -> Callable[..., Tensor]:
    r"""The :obj:`mask_mod` of cells that share an id.

    Args:
        query (Tensor): Ids :obj:`[B, S, P]` of queries.
        key (Tensor): Ids :obj:`[B, S, Q]` of keys.

    Example:
        >>> ids = torch.tensor([[[0], [1]]])
        >>> zero, one = torch.tensor(0), torch.tensor(1)
        >>> shared_id_mod(ids, ids)(zero, zero, one, one)
        tensor(True)
    """
    num_query, num_key = query.size(2), key.size(2)

    def mask_mod(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        out = query[b, q, 0] == key[b, kv, 0]
        for i in range(num_query):
            for j in range(num_key):
                if i + j > 0:
                    out = out | (query[b, q, i] == key[b, kv, j])
        return out

    return mask_mod
