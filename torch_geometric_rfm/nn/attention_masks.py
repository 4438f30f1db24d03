from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.nn.dense_mask import DenseMask, dense_index

MaskFunction = Callable[[CellData], Tensor]

_MASKS: dict[str, MaskFunction] = {}


def register_mask(name: str) -> Callable[[MaskFunction], MaskFunction]:
    r"""Makes a mask known under a name that models can list.

    Args:
        name (str): The name of the mask, which must not be taken.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> @register_mask('same_table')
        ... def same_table_mask(cells):
        ...     table = cells.row_table[cells.row]
        ...     return pair_mask(cells, table, table)
        >>> list(attention_masks(random_cells(), ['same_table']))
        ['same_table']
    """
    if not name.isidentifier():
        raise ValueError(f"'name' must be an identifier (got '{name}')")
    if name in _MASKS:
        raise ValueError(f"'name' must not be taken by another mask (got '{name}')")

    def register(function: MaskFunction) -> MaskFunction:
        _MASKS[name] = function
        return function

    return register


def check_mask_names(names: Sequence[str]) -> None:
    r"""Raises :class:`ValueError` if a mask is unknown or listed twice."""
    unknown = [name for name in names if name not in _MASKS]
    if unknown:
        raise ValueError(
            f'unknown attention masks (got {unknown}, known are: '
            f"{', '.join(_MASKS)}); add one with 'register_mask'"
        )
    if len(set(names)) != len(names):
        raise ValueError(f'attention masks must differ (got {list(names)})')


def _layout(cells: CellData) -> tuple[Tensor | None, tuple[int, int]]:
    batch = cells.batch_or_zeros
    num_contexts = cells.num_contexts
    if batch.numel() == 0:
        return None, (num_contexts, 0)
    size = int(torch.bincount(batch, minlength=num_contexts).max())
    if batch.numel() == num_contexts * size:
        return None, (num_contexts, size)
    return dense_index(batch, num_contexts, size), (num_contexts, size)


def _pad(
    src: Tensor, index: Tensor | None, shape: tuple[int, int], fill: int
) -> Tensor:
    if index is None:
        return src.view(shape)
    out = src.new_full((shape[0] * shape[1],), fill)
    out[index] = src
    return out.view(shape)


def pair_mask(cells: CellData, query: Tensor, key: Tensor) -> Tensor:
    r"""The mask of all pairs of a context whose ids agree.

    Args:
        cells (CellData): The contexts.
        query (Tensor): Non-negative integer :obj:`[N]`, the id of each cell as
            a query.
        key (Tensor): Non-negative integer :obj:`[N]`, its id as a key.

    Returns:
        Tensor: Boolean :obj:`[B, S, S]` as :obj:`[context, query, key]`.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=5)
        >>> pair_mask(cells, cells.cell_type, cells.cell_type).size()
        torch.Size([1, 5, 5])
    """
    index, shape = _layout(cells)
    # Ids shrink to 32 bits (they number cells, rows or columns of one batch).
    query = _pad(query.int(), index, shape, fill=-1)
    key = _pad(key.int(), index, shape, fill=-2)
    return query.unsqueeze(2) == key.unsqueeze(1)


def _link_mask(cells: CellData, query_row: Tensor, key_row: Tensor) -> Tensor:
    index, shape = _layout(cells)
    first = cells.seed_row  # [B]
    end = torch.cat([first[1:], first.new_tensor([cells.num_rows])])
    count = end - first
    size = (int(count.max()) if count.numel() > 0 else 0) + 1

    # Row adjacency [B, R + 1, R + 1] in row numbers of the context; the last
    # row stands for padding and has no links.
    context = torch.repeat_interleave(count)  # [R]
    link = context[query_row] * size + query_row - first[context[query_row]]
    link = link * size + key_row - first[context[key_row]]
    links = torch.zeros(shape[0] * size * size, dtype=torch.bool, device=first.device)
    links[link] = True
    links = links.view(-1, size)

    local = cells.row - first[cells.batch_or_zeros]
    row = _pad(local, index, shape, fill=size - 1)  # [B, S]
    shift = torch.arange(shape[0], device=row.device).unsqueeze(1) * size
    out = links.index_select(0, (row + shift).view(-1))  # [B * S, R + 1]
    out = out.view(*shape, size)
    return out.gather(2, row.unsqueeze(1).expand(-1, shape[1], -1))


@register_mask('column')
def column_mask(cells: CellData) -> Tensor:
    r"""A cell attends to the cells of its own column.

    Args:
        cells (CellData): The contexts.

    Returns:
        Tensor: Boolean :obj:`[B, S, S]` as :obj:`[context, query, key]`, where
        :math:`S` is the size of the largest context.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> column_mask(random_cells(num_cells=5)).diagonal(dim1=1, dim2=2).all()
        tensor(True)
    """
    return pair_mask(cells, cells.column, cells.column)


@register_mask('feature')
def feature_mask(cells: CellData) -> Tensor:
    r"""A cell attends to the cells of its own row and of the row's parents.

    Args:
        cells (CellData): The contexts.

    Returns:
        Tensor: Boolean :obj:`[B, S, S]` as :obj:`[context, query, key]`.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> feature_mask(random_cells(num_cells=5)).diagonal(dim1=1, dim2=2).all()
        tensor(True)
    """
    child, parent = cells.fkey_index
    own = torch.arange(cells.num_rows, device=child.device)
    return _link_mask(cells, torch.cat([child, own]), torch.cat([parent, own]))


@register_mask('neighbor')
def neighbor_mask(cells: CellData) -> Tensor:
    r"""A cell attends to the cells of the rows that refer to its row.

    Args:
        cells (CellData): The contexts.

    Returns:
        Tensor: Boolean :obj:`[B, S, S]` as :obj:`[context, query, key]`.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> neighbor_mask(random_cells(num_cells=5)).size()
        torch.Size([1, 5, 5])
    """
    child, parent = cells.fkey_index
    return _link_mask(cells, parent, child)


@register_mask('full')
def full_mask(cells: CellData) -> Tensor:
    r"""A cell attends to all cells of its context.

    Args:
        cells (CellData): The contexts.

    Returns:
        Tensor: Boolean :obj:`[B, S, S]` as :obj:`[context, query, key]`.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> full_mask(random_cells(num_cells=5)).all()
        tensor(True)
    """
    return pair_mask(cells, cells.batch_or_zeros, cells.batch_or_zeros)


def attention_masks(
    cells: CellData,
    names: Sequence[str] = ('column', 'feature', 'neighbor', 'full'),
    backend: str = 'dense',
) -> dict[str, Tensor | DenseMask]:
    r"""Builds the masks of a batch, once for all layers of a model.

    Args:
        cells (CellData): The contexts.
        names (sequence of str, optional): The masks to build: :obj:`'column'`,
            :obj:`'feature'`, :obj:`'neighbor'`, :obj:`'full'` or any name given
            to :func:`register_mask`.
            (default: :obj:`('column', 'feature', 'neighbor', 'full')`)
        backend (str, optional): The encoding of the masks: :obj:`'dense'` for
            :class:`~torch_geometric_rfm.nn.DenseMask`, :obj:`'edge_index'` for
            edges :obj:`[2, E]` from key to query. (default: :obj:`'dense'`)

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> masks = attention_masks(random_cells(), backend='edge_index')
        >>> [name for name, mask in masks.items() if mask.size(0) == 2]
        ['column', 'feature', 'neighbor', 'full']
    """
    if backend not in ('dense', 'edge_index'):
        raise ValueError(f"'backend' must be 'dense' or 'edge_index' (got '{backend}')")
    check_mask_names(names)
    index, shape = _layout(cells)
    masks: dict[str, Tensor | DenseMask] = {}
    for name in names:
        everything = name == 'full' and index is None and backend == 'dense'
        mask = None if everything else _MASKS[name](cells)
        dense = DenseMask(mask, index, shape)
        masks[name] = dense if backend == 'dense' else dense.to_edge_index()
    return masks
