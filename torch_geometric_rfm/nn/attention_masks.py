from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.nn.dense_mask import DenseMask
from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask
from torch_geometric_rfm.nn.masks.build_masks import BACKENDS, build_mask
from torch_geometric_rfm.nn.masks.cell_masks import (
    column_mask,
    feature_mask,
    full_mask,
    neighbor_mask,
)
from torch_geometric_rfm.nn.masks.id_mask import IdMask

MaskFunction = Callable[[CellData], IdMask | Tensor]
Names = Sequence[str | MaskFunction] | Mapping[str, MaskFunction]

_MASKS: dict[str, MaskFunction] = {
    'column': column_mask,
    'feature': feature_mask,
    'neighbor': neighbor_mask,
    'full': full_mask,
}


def register_mask(name: str) -> Callable[[MaskFunction], MaskFunction]:
    r"""Makes a mask known under a name that models can list.

    A mask is a function of :class:`~torch_geometric_rfm.data.CellData` that
    returns an :class:`~torch_geometric_rfm.nn.IdMask`, edges :obj:`[2, E]` from
    keys to queries, or a boolean mask :obj:`[B, S, S]`. From an
    :class:`~torch_geometric_rfm.nn.IdMask` every encoding is built in
    proportion to its pairs.

    Args:
        name (str): The name of the mask, which must not be taken.

    Example:
        >>> from torch_geometric_rfm.nn import row_parents
        >>> from torch_geometric_rfm.testing import random_cells
        >>> @register_mask('sibling')
        ... def sibling_mask(cells):
        ...     # Cells of rows that share a parent, over any foreign key.
        ...     parents = row_parents(cells)[cells.row]
        ...     return IdMask(parents, parents)
        >>> list(attention_masks(random_cells(), ['column', 'sibling']))
        ['column', 'sibling']
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


def attention_masks(
    cells: CellData,
    names: Names = ('column', 'feature', 'neighbor', 'full'),
    backend: str = 'auto',
) -> dict[str, Tensor | AttentionMask]:
    r"""Builds the masks of a batch, once for all layers of a model.

    Args:
        cells (CellData): The contexts.
        names (sequence or dict, optional): The masks to build:
            :obj:`'column'`, :obj:`'feature'`, :obj:`'neighbor'`,
            :obj:`'full'`, any name given to :func:`register_mask`, or functions
            such as those, which go by their own name. A dictionary gives the
            names of its functions.
            (default: :obj:`('column', 'feature', 'neighbor', 'full')`)
        backend (str, optional): The encoding of the masks. :obj:`'dense'`:
            :class:`~torch_geometric_rfm.nn.DenseMask`. :obj:`'blocked'`:
            :class:`~torch_geometric_rfm.nn.BlockedMask`, made for CPUs.
            :obj:`'flex'`: :class:`~torch_geometric_rfm.nn.FlexMask`, made for
            CUDA. :obj:`'edge_index'`: edges :obj:`[2, E]` from key to query.
            :obj:`'auto'`: by device, size and density, what is fastest.
            (default: :obj:`'auto'`)

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> masks = attention_masks(random_cells(), backend='edge_index')
        >>> [name for name, mask in masks.items() if mask.size(0) == 2]
        ['column', 'feature', 'neighbor', 'full']
    """
    if backend not in BACKENDS:
        raise ValueError(f"'backend' must be one of {list(BACKENDS)} (got '{backend}')")
    batch = _checked_batch(cells)
    num_contexts = cells.num_contexts
    masks: dict[str, Tensor | AttentionMask] = {}
    for name, function in _functions(names).items():
        ids = _id_mask(name, function, cells)
        masks[name] = build_mask(ids, batch, num_contexts, backend)
    return masks


def to_edge_index(cells: CellData, mask: str | MaskFunction) -> Tensor:
    r"""A mask as edges :obj:`[2, E]` from keys to queries, for any layer.

    Args:
        cells (CellData): The contexts.
        mask (str or callable): The mask, by name or function.

    Example:
        >>> from torch_geometric.nn import SAGEConv
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=5)
        >>> edge_index = to_edge_index(cells, 'feature')
        >>> SAGEConv(4, 8)(torch.randn(5, 4), edge_index).size()
        torch.Size([5, 8])
    """
    (name, function), *_ = _functions([mask]).items()
    batch = _checked_batch(cells)
    return _id_mask(name, function, cells).to_edge_index(batch)


def _functions(names: Names) -> dict[str, MaskFunction]:
    if isinstance(names, Mapping):
        return dict(names)
    if isinstance(names, str):
        raise TypeError(f"'names' must be a sequence of masks (got '{names}')")
    known = [name if isinstance(name, str) else name.__name__ for name in names]
    check_mask_names([name for name in names if isinstance(name, str)])
    if len(set(known)) != len(known):
        raise ValueError(f'attention masks must differ (got {known})')
    return {
        key: _MASKS[name] if isinstance(name, str) else name
        for key, name in zip(known, names, strict=True)
    }


def _checked_batch(cells: CellData) -> Tensor:
    batch = cells.batch_or_zeros
    if batch.numel() > 0 and bool((batch[1:] < batch[:-1]).any()):
        raise ValueError(
            "'cells.batch' must be in ascending order; sort the cells by context"
        )
    return batch


def _id_mask(name: str, function: MaskFunction, cells: CellData) -> IdMask:
    batch = cells.batch_or_zeros
    mask = function(cells)
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        dense = DenseMask.from_batch(mask, batch)
        _check_size(name, dense.num_cells, batch)
        mask = dense.to_edge_index()
    if isinstance(mask, Tensor):
        mask = IdMask.from_edge_index(mask, batch)
    if not isinstance(mask, IdMask):
        raise TypeError(
            f"the mask '{name}' must return an IdMask, edges [2, E] or a boolean "
            f'tensor [B, S, S] (got {type(mask).__name__})'
        )
    _check_size(name, mask.num_cells, batch)
    if mask.query.device != batch.device:
        raise ValueError(
            f"the mask '{name}' must be on the device of the cells "
            f'(got {mask.query.device} and {batch.device})'
        )
    return mask


def _check_size(name: str, num_cells: int, batch: Tensor) -> None:
    if num_cells != batch.numel():
        raise ValueError(
            f"the mask '{name}' is over {num_cells} cells "
            f"(got {batch.numel()} in 'cells')"
        )
