import torch
from torch import Tensor

from torch_geometric_rfm.nn.dense_mask import DenseMask, dense_index
from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask
from torch_geometric_rfm.nn.masks.blocked_mask import BlockedMask
from torch_geometric_rfm.nn.masks.flex_mask import FlexMask, has_flex
from torch_geometric_rfm.nn.masks.id_mask import IdMask
from torch_geometric_rfm.nn.masks.join import join

BACKENDS = ('auto', 'dense', 'blocked', 'flex', 'edge_index')

# Measured on a CPU: contexts up to this size and batches of up to so many pairs are
# faster dense.
_DENSE_CELLS = 64
_DENSE_PAIRS = 40_000

# Not measured: blocks that compute more than this share of all pairs gain too little
# to pay for their gathers.
_DENSE_SHARE = 0.5

# Not measured: contexts up to this size fill a few blocks of FlexAttention.
_DENSE_CELLS_CUDA = 256


def build_mask(
    ids: IdMask, batch: Tensor, num_contexts: int, backend: str = 'auto'
) -> Tensor | AttentionMask:
    r"""Builds one encoding of a mask.

    Args:
        ids (IdMask): The mask.
        batch (Tensor): Context of each cell :obj:`[N]`, in ascending order.
        num_contexts (int): Number of contexts.
        backend (str, optional): See
            :func:`~torch_geometric_rfm.nn.attention_masks`.
            (default: :obj:`'auto'`)

    Example:
        >>> ids = IdMask(torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1]))
        >>> build_mask(ids, torch.tensor([0, 0, 1]), 2, backend='edge_index')
        tensor([[0, 1],
                [0, 0]])
    """
    if backend == 'edge_index':
        return ids.to_edge_index(batch)
    size = 0
    if batch.numel() > 0:
        size = int(torch.bincount(batch, minlength=num_contexts).max())
    full = batch.numel() == num_contexts * size and (size == 0 or ids.is_constant)
    if backend == 'auto':
        on_cuda = batch.is_cuda
        few = size <= (_DENSE_CELLS_CUDA if on_cuda else _DENSE_CELLS)
        few |= not on_cuda and num_contexts * size**2 <= _DENSE_PAIRS
        if few or full or (on_cuda and not FlexMask.fits(ids)):
            backend = 'dense'
        else:
            backend = 'flex' if on_cuda else 'blocked'
            if backend == 'blocked':
                mask = BlockedMask(ids, batch, num_contexts)
                if mask.num_pairs <= _DENSE_SHARE * num_contexts * size**2:
                    return mask
                # Groups compute nothing in vain, whatever their share.
                if ids.is_partition:
                    return mask
                backend = 'dense'
    if backend == 'flex' and has_flex(batch.device) and FlexMask.fits(ids):
        return FlexMask(ids, batch, num_contexts)
    if backend == 'blocked':
        return BlockedMask(ids, batch, num_contexts)
    return _dense(ids, batch, (num_contexts, size), full)


def _dense(ids: IdMask, batch: Tensor, shape: tuple[int, int], full: bool) -> DenseMask:
    num_contexts, size = shape
    if full:
        return DenseMask(None, None, shape)
    padded = batch.numel() < num_contexts * size
    position = dense_index(batch, num_contexts, size)  # [N]
    if ids.query.dim() == ids.key.dim() == 1:
        query, key = (
            side.new_full((num_contexts * size,), fill).index_copy(0, position, side)
            for side, fill in (
                (ids.query.clamp(min=-1), -1),
                (torch.where(ids.key < 0, -2, ids.key), -2),
            )
        )
        mask = query.view(shape).unsqueeze(2) == key.view(shape).unsqueeze(1)
    else:
        query, query_id, key, key_id = ids.entries(batch)
        left, right = join(query_id, key_id)
        query, key = position[query[left]], position[key[right]]
        flat = torch.zeros(
            num_contexts * size * size, dtype=torch.bool, device=batch.device
        )
        flat[query * size + key % size] = True
        mask = flat.view(num_contexts, size, size)
    return DenseMask(mask, position if padded else None, shape)
