from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.group_rows import group_rows
from torch_geometric_rfm.nn.masks.block_plan import (
    fill_bias,
    group_blocks,
    lay_out,
    query_blocks,
    size_classes,
)
from torch_geometric_rfm.nn.masks.id_mask import IdMask
from torch_geometric_rfm.nn.masks.row_gather import RowMap

IntArray = NDArray[np.int64]

# Measured on a CPU in float32 with eight heads of 32 channels: what a gathered
# row and a call cost, forward and backward, in pairs of query and key.
_ROW_COST = 8.0
_CLASS_COST = 600.0


class BlockClass(NamedTuple):
    r"""Blocks that are padded to the same numbers of queries and keys."""

    num_blocks: int
    num_queries: int
    num_keys: int
    bias: Tensor | None  # [blocks, 1, queries or 1, keys], 0 or -inf


class Blocks(NamedTuple):
    r"""A mask cut into blocks, and where cells lie in them as queries and as
    keys.
    """

    classes: list[BlockClass]
    query_map: RowMap
    key_map: RowMap
    num_keys: Tensor  # [M]


def build_blocks(
    mask: IdMask,
    batch: Tensor,
    num_contexts: int,
    queries: Tensor | None = None,
    block_size: int = 32,
) -> Blocks:
    r"""Cuts a mask into blocks, on the CPU and in proportion to its pairs.

    Args:
        mask (IdMask): The mask.
        batch (Tensor): Context of each cell :obj:`[N]`, in ascending order.
        num_contexts (int): Number of contexts.
        queries (Tensor, optional): The only cells :obj:`[M]` that attend, none
            twice, all if not given. (default: :obj:`None`)
        block_size (int, optional): Queries of a block that needs a mask
            inside. (default: :obj:`32`)

    Example:
        >>> column = torch.tensor([0, 1, 0, 0])
        >>> batch = torch.tensor([0, 0, 0, 1])
        >>> blocks = build_blocks(IdMask(column, column), batch, num_contexts=2)
        >>> blocks.num_keys
        tensor([2, 1, 2, 1])
    """
    num_cells = mask.num_cells
    ptr = np.zeros(num_contexts + 1, dtype=np.int64)
    count = torch.bincount(batch, minlength=num_contexts).cpu().numpy()
    np.cumsum(count, out=ptr[1:])
    if mask.is_partition and queries is None:
        return _groups(_compact(mask.query.long().cpu().numpy())[0], ptr)

    query_ids, key_ids = (ids.cpu().numpy() for ids in mask.ids())
    ids, num_ids = _compact(np.concatenate([query_ids, key_ids], axis=1))
    query_ids = np.ascontiguousarray(ids[:, : query_ids.shape[1]])
    key_ids = np.ascontiguousarray(ids[:, query_ids.shape[1] :])
    wanted = np.ones(num_cells, dtype=np.bool_)
    rank = np.arange(num_cells)
    if queries is not None:
        wanted[:] = False
        wanted[queries.cpu().numpy()] = True
        rank[queries.cpu().numpy()] = np.arange(queries.numel())
    chosen, query_ptr, keys, key_ptr, places, place_ptr = query_blocks(
        ptr, query_ids, key_ids, num_ids, wanted, block_size
    )
    num_queries = num_cells if queries is None else queries.numel()
    num_keys = np.zeros(num_queries, dtype=np.int64)
    num_keys[rank[chosen]] = np.diff(place_ptr)

    width = _padded(np.diff(key_ptr), block_size)
    height = np.full(len(width), block_size)
    order = np.argsort(width, kind='stable')
    query_map = _row_map(order, query_ptr, height, rank[chosen], num_queries)
    key_map = _row_map(order, key_ptr, width, keys, num_cells)
    base = _starts(order, height * width)
    bias = torch.full((int((height * width).sum()),), -torch.inf)
    fill_bias(query_ptr, base, block_size, width, places, place_ptr, bias.numpy())
    classes, start = [], 0
    for size, num in zip(*np.unique(width, return_counts=True), strict=True):
        end = start + int(num * size) * block_size
        shape = (int(num), 1, block_size, int(size))
        classes.append(
            BlockClass(int(num), block_size, int(size), bias[start:end].view(shape))
        )
        start = end
    return Blocks(classes, query_map, key_map, torch.from_numpy(num_keys))


def _groups(ids: IntArray, ptr: IntArray) -> Blocks:
    num_ids = int(ids.max(initial=-1)) + 1
    group, num_groups = group_blocks(ptr, ids, num_ids)
    group_ptr = np.zeros(num_groups + 1, dtype=np.int64)
    cells = np.empty(int((group >= 0).sum()), dtype=np.int64)
    group_rows(np.arange(len(ids)), group, 0, group_ptr, cells)
    size = np.diff(group_ptr)
    num_keys = np.append(size, 0)[group]  # Groups of -1 read the appended zero.

    width = _padded(size, 0)
    order = np.argsort(width, kind='stable')
    row_map = _row_map(order, group_ptr, width, cells, len(ids))
    classes = []
    for value in np.unique(width):
        real = torch.from_numpy(size[order][width[order] == value])
        bias = None
        if int(real.min()) < value:
            bias = torch.zeros(real.numel(), 1, 1, int(value))
            padding = torch.arange(int(value)) >= real.view(-1, 1, 1, 1)
            bias.masked_fill_(padding, -torch.inf)
        classes.append(BlockClass(real.numel(), int(value), int(value), bias))
    return Blocks(classes, row_map, row_map, torch.from_numpy(num_keys))


def _compact(ids: IntArray) -> tuple[IntArray, int]:
    # Scratch arrays are as long as the largest id.
    high = int(ids.max(initial=-1)) + 1
    if high <= 16 * ids.size + 1024:
        return np.maximum(ids, -1), high
    known, inverse = np.unique(ids, return_inverse=True)
    inverse = inverse.reshape(ids.shape)
    return np.where(ids < 0, -1, inverse), len(known)


def _padded(size: IntArray, block_size: int) -> IntArray:
    known, inverse, count = np.unique(size, return_inverse=True, return_counts=True)
    padded: IntArray = size_classes(known, count, block_size, _ROW_COST, _CLASS_COST)
    return padded[inverse]


def _starts(order: IntArray, size: IntArray) -> IntArray:
    out = np.empty(len(size), dtype=np.int64)
    out[order] = np.cumsum(size[order]) - size[order]
    return out


def _row_map(
    order: IntArray, ptr: IntArray, size: IntArray, cells: IntArray, num_cells: int
) -> RowMap:
    index, reverse = np.empty_like(cells), np.empty_like(cells)
    offsets = np.empty(int(size.sum()) + 1, dtype=np.int64)
    reverse_ptr = np.zeros(num_cells + 1, dtype=np.int64)
    base = _starts(order, size)
    lay_out(order, ptr, base, size, cells, index, offsets, reverse, reverse_ptr)
    arrays = (index, offsets, reverse, reverse_ptr)
    return RowMap(*(torch.from_numpy(array) for array in arrays))
