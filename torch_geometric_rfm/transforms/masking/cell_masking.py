import zlib

import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.transforms.masking.arguments import chosen_columns
from torch_geometric_rfm.transforms.masking.choice import HIDDEN, Choice
from torch_geometric_rfm.transforms.masking.masking_view import MaskingView
from torch_geometric_rfm.transforms.masking.random_draws import join


def view_cells(
    data: CellData,
    keys: Tensor,
    rate: Tensor,
    cell_types: frozenset[CellType],
    columns: frozenset[str] | None,
) -> MaskingView:
    r"""What may be chosen of contexts: visible cells, and the links of all rows but
    seeds with a hidden cell, whose question needs them.
    """
    batch, row_context = data.batch_or_zeros, data.row_context
    device = batch.device
    count = torch.bincount(batch, minlength=data.num_contexts)
    first = count.cumsum(0) - count
    position = torch.arange(batch.numel(), device=device) - first[batch]
    local_row = torch.arange(data.num_rows, device=device) - data.seed_row[row_context]
    child, parent = data.fkey_index
    fkey = data.fkey_type
    if data.get('fkey_names') is not None:
        # Their numbers depend on the batch, their names do not.
        names = [zlib.crc32(name.encode()) for name in data.fkey_phrases]
        fkey = torch.tensor(names, dtype=torch.long, device=device)[fkey]
    link_key = join(keys[row_context[child]], local_row[child], fkey, local_row[parent])

    eligible = ~data.predict_mask
    if len(cell_types) < len(CellType):
        eligible &= torch.isin(
            data.cell_type, torch.tensor(sorted(cell_types), device=device)
        )
    if columns is not None:
        chosen = chosen_columns(columns, data.phrases)
        eligible &= torch.tensor(chosen, device=device)[data.column]

    asked = torch.zeros(data.num_rows, dtype=torch.bool, device=device)
    asked[data.seed_row] = True
    has_hidden = torch.zeros_like(asked)
    has_hidden[data.row[data.mask]] = True
    return MaskingView(
        eligible=eligible,
        row=data.row,
        column=data.column,
        context=row_context,
        links=data.fkey_index,
        link_eligible=~(asked & has_hidden)[child],
        rate=rate,
        cell_key=join(keys[batch], position),
        row_key=join(keys[row_context], local_row),
        link_key=link_key,
    )


def hide_cells(data: CellData, choice: Choice, keeps_some: bool) -> None:
    r"""Hides the chosen cells of contexts, and keeps what they held.

    Args:
        data: The contexts, changed in place but not their tensors.
        choice: What to hide; cells of other fates than to be hidden have their
            value already.
        keeps_some: Whether cells may be chosen and left with a value.
    """
    chosen, hidden = choice.cells, choice.cells & (choice.fate == HIDDEN)
    data.mask = data.mask | hidden
    data.value = data.value.masked_fill(hidden, 0.0)
    data.relative_time = data.relative_time.masked_fill(hidden, 0.0)
    data.text_index = data.text_index.masked_fill(hidden, 0)
    if keeps_some or data.get('shown_mask') is not None:
        shown = data.get('shown_mask')
        added = chosen & ~hidden
        data.shown_mask = added if shown is None else shown | added


def keep_truth(data: CellData, chosen: Tensor) -> None:
    r"""Writes what the chosen cells hold to :obj:`target` and
    :obj:`target_text_index`.
    """
    truth = (data.value > 0).to(data.value.dtype)
    truth = torch.where(data.cell_type == CellType.BOOLEAN, truth, data.value)
    data.target = torch.where(chosen, truth, data.target)
    earlier = data.get('target_text_index')
    if earlier is None:
        earlier = torch.zeros_like(data.text_index)
    string = chosen & (data.cell_type >= CellType.CATEGORY)
    data.target_text_index = torch.where(string, data.text_index, earlier)


def hide_links(data: CellData, chosen: Tensor) -> None:
    r"""Takes the chosen links out, and keeps them in :obj:`fkey_target_index`."""
    index, kind = data.fkey_index[:, chosen], data.fkey_type[chosen]
    if data.get('fkey_target_index') is not None:
        index = torch.cat([data.fkey_target_index, index], dim=1)
        kind = torch.cat([data.fkey_target_type, kind])
    data.fkey_target_index, data.fkey_target_type = index, kind
    data.fkey_index = data.fkey_index[:, ~chosen]
    data.fkey_type = data.fkey_type[~chosen]
