from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType


def official_batch(
    cells: CellData, boolean_as_number: bool = False
) -> dict[str, Tensor]:
    r"""The same contexts as the padded batch that the official models take.

    Hidden booleans, whose truth stands in :obj:`target` as 0 or 1, become
    :math:`-1` and :math:`1`, as the official losses look at the sign alone.

    Args:
        cells (CellData): The contexts.
        boolean_as_number (bool, optional): If set to :obj:`True`, booleans are
            numbers, as in RT-J. (default: :obj:`False`)

    Returns:
        dict: Tensors :obj:`[B, S]` or :obj:`[B, S, channels]`.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> batch = official_batch(random_cells(2, [5, 3], text_channels=8))
        >>> batch['text_values'].size()
        torch.Size([2, 5, 8])
    """
    kind = cells.cell_type
    boolean = kind == CellType.BOOLEAN
    # Semantic types of the official code: number, text, datetime, boolean.
    order = kind.new_tensor([0, 0 if boolean_as_number else 3, 2, 1, 1, 1])

    target = cells.target.nan_to_num(0.0)
    target = torch.where(boolean, 2 * target - 1, target)
    value = torch.where(cells.mask, target, cells.value)
    text = (kind >= CellType.CATEGORY) & ~cells.mask
    text_values = cells.text_embedding.new_zeros(
        len(kind), cells.text_embedding.size(1)
    )
    text_values[text] = cells.text_embedding[cells.text_index[text]]

    # Parents of each row, as many columns as any row has links.
    child, parent = cells.fkey_index
    order_of_links = child.argsort(stable=True)
    child, parent = child[order_of_links], parent[order_of_links]
    count = torch.bincount(child, minlength=cells.num_rows)
    first = count.cumsum(0) - count
    width = max(int(count.max()), 1)
    parents = child.new_full((cells.num_rows, width), -1)
    parents[child, torch.arange(len(child), device=child.device) - first[child]] = (
        parent
    )

    out = {}
    _, real = to_dense_batch(cells.row, cells.batch_or_zeros)
    for key, src, fill in (
        ('node_idxs', cells.row, -2),
        ('f2p_nbr_idxs', parents[cells.row], -1),
        ('col_name_idxs', cells.column, 0),
        # Ours are columns of one table; theirs are names that tables share.
        ('table_name_idxs', torch.zeros_like(cells.column), 0),
        ('sem_types', order[kind], 0),
        ('is_targets', cells.mask, 0),
        ('number_values', value.masked_fill(kind > 1, 0.0).unsqueeze(1), 0),
        ('datetime_values', value.masked_fill(kind != 2, 0.0).unsqueeze(1), 0),
        ('text_values', text_values, 0),
        ('col_name_values', cells.column_embedding[cells.column], 0),
    ):
        out[key], _ = to_dense_batch(src, cells.batch_or_zeros, fill_value=fill)
    out['is_targets'] = out['is_targets'].bool()
    out['is_padding'] = ~real
    return out


def save_official_input(
    path: str | Path,
    weights: Mapping[str, Tensor],
    batch: Mapping[str, Tensor],
    **metadata: Any,
) -> None:
    r"""Writes what :obj:`benchmark/official_model.py` reads.

    Args:
        path (str): The safetensors file.
        weights (dict): An official state dict.
        batch (dict): What :func:`official_batch` returns.
        **metadata: :obj:`model`, :obj:`num_heads`, :obj:`rms_eps` and
            :obj:`loss_fn`.
    """
    tensors = {f'weights.{key}': value for key, value in weights.items()}
    tensors |= {f'batch.{key}': value for key, value in batch.items()}
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    save_file(tensors, path, {key: str(value) for key, value in metadata.items()})
