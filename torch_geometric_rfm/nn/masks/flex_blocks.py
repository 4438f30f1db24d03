import torch
from torch import Tensor

from torch_geometric_rfm.nn.masks.join import join

BlockLists = tuple[Tensor, Tensor, Tensor, Tensor]


def padded_size(size: int, block_size: int) -> int:
    r"""A multiple of the block size that is not below a size, one of at most
    four in an octave, so that compiled kernels see few sizes.

    Example:
        >>> [padded_size(size, block_size=128) for size in (0, 1, 1000, 4100)]
        [128, 128, 1024, 5120]
    """
    size = max(size, 1)
    step = max(block_size, (1 << (size - 1).bit_length()) // 8)
    return -(-size // step) * step


def block_lists(
    query: Tensor,
    query_id: Tensor,
    key: Tensor,
    key_id: Tensor,
    shape: tuple[int, int, int],
    exact: bool,
) -> BlockLists:
    r"""The blocks in which some query and some key share an id.

    Args:
        query (Tensor): Positions of queries in the padded layout, one an id.
        query_id (Tensor): Their ids, which no two contexts share.
        key (Tensor): Positions of keys in the padded layout, one an id.
        key_id (Tensor): Their ids.
        shape (tuple): Number of contexts, padded size of a context, and size
            of a block.
        exact (bool): Whether a query and a key share one id at most, so that
            blocks of pairs that all attend are known.

    Returns:
        For each block of queries the number of partial blocks of keys
        :obj:`[B, 1, blocks]` and their list :obj:`[B, 1, blocks, blocks]`,
        then both for full blocks.

    Example:
        >>> position, ids = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1, 1])
        >>> lists = block_lists(position, ids, position, ids, (1, 4, 2), exact=True)
        >>> lists[2].view(-1), lists[3][0, 0, :, 0]
        (tensor([1, 1], dtype=torch.int32), tensor([0, 1], dtype=torch.int32))
    """
    num_contexts, size, block_size = shape
    num_blocks = size // block_size
    num_ids = 1
    if query_id.numel() > 0 and key_id.numel() > 0:
        num_ids = int(torch.maximum(query_id.max(), key_id.max())) + 1
    sides = []
    for position, ids in ((query, query_id), (key, key_id)):
        code = (position // block_size) * num_ids + ids
        code, count = code.unique(return_counts=True)
        sides.append((code // num_ids, code % num_ids, count))
    (query_block, query_id, query_count), (key_block, key_id, key_count) = sides
    left, right = join(query_id, key_id)
    pairs = query.new_zeros(num_contexts * num_blocks * num_blocks)
    pairs = pairs.scatter_add(
        0,
        query_block[left] * num_blocks + key_block[right] % num_blocks,
        query_count[left] * key_count[right],
    ).view(num_contexts, 1, num_blocks, num_blocks)
    full = pairs == (block_size**2 if exact else -1)
    partial = (pairs > 0) & ~full
    return *_listed(partial), *_listed(full)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(dim=-1, dtype=torch.int32), order.int()
