import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.column_sample import ColumnSample
from torch_geometric_rfm.transforms.masking.choice import HIDDEN, RANDOM, Choice
from torch_geometric_rfm.transforms.masking.masking_view import (
    MaskingView,
    lexsort,
    rank_in_group,
)
from torch_geometric_rfm.transforms.masking.random_draws import VALUE, uniform


def put_random_values(data: CellData, view: MaskingView, choice: Choice) -> Choice:
    r"""Gives the chosen cells of fate :obj:`RANDOM` another value of their column.

    It comes from the sample of the column, or, for columns without one, from the
    cells of the same context that stay visible; so labels are never others than
    those that the context shows anyway. A cell for which there is no value either
    way is hidden.

    Returns:
        The choice with these fates.
    """
    sample = _column_sample(data)
    index = (choice.cells & (choice.fate == RANDOM)).nonzero().view(-1)
    draw = uniform(view.cell_key[index], VALUE)
    drawn = sample.draw(data.column[index], draw)
    known, value, seconds, string = (x.to(index.device) for x in drawn)
    days = (seconds - data.seed_time[view.cell_context[index]]).double() / 86_400
    relative = days.sign() * days.abs().log1p()
    is_datetime = data.cell_type[index] == CellType.DATETIME
    is_string = data.cell_type[index] >= CellType.CATEGORY

    unique, inverse = torch.unique(string[known & is_string], return_inverse=True)
    text_index = data.text_index[index]
    text_index[known & is_string] = inverse + data.text_embedding.size(0)
    if unique.numel() > 0:
        added = sample.store.text_embedding[unique.cpu()]
        data.text_embedding = torch.cat(
            [data.text_embedding, added.to(data.text_embedding)]
        )
    source = _visible_cell(data, view, choice, index, draw)
    fate = choice.fate.clone()
    fate[index[~known & (source < 0)]] = HIDDEN
    source = torch.where(source < 0, index, source)
    relative = torch.where(is_datetime, relative, 0.0)
    for key, new in (
        ('value', value),
        ('relative_time', relative),
        ('text_index', text_index),
    ):
        old = data[key]
        new = torch.where(known, new.to(old.dtype), old[source])
        data[key] = old.index_put((index,), new)
    return choice._replace(fate=fate)


def _visible_cell(
    data: CellData, view: MaskingView, choice: Choice, index: Tensor, draw: Tensor
) -> Tensor:
    # A cell of the same column and context that is not to be predicted, or -1.
    pool = (~data.predict_mask & ~choice.cells).nonzero().view(-1)
    both = torch.cat([index, pool])
    column, context = data.column[both], view.cell_context[both]
    is_pool = torch.arange(both.numel(), device=both.device) >= index.numel()
    order = lexsort(is_pool.long(), column, context)
    group = context[order] * data.column_embedding.size(0) + column[order]
    _, start, count = rank_in_group(group)
    # In each group those in want of a value come first, then the pool.
    wanting = torch.zeros_like(both)
    wanting.index_add_(0, start, (~is_pool[order]).long())
    wanting = wanting[start]
    number = torch.zeros(both.numel(), dtype=torch.double, device=both.device)
    number[: index.numel()] = draw
    place = start + wanting + (number[order] * (count - wanting)).long()
    found = both[order][place.clamp(max=both.numel() - 1)]
    out = torch.empty_like(both)
    out[order] = torch.where(count > wanting, found, -1)
    return out[: index.numel()]


def _column_sample(data: CellData) -> ColumnSample:
    sample = data.get('column_sample')
    if not isinstance(sample, ColumnSample):
        raise ValueError(
            "random values need 'column_sample' (got none); pass MaskCells as the "
            'transform of a ContextLoader, or set cells.column_sample = '
            'ColumnSample(store)'
        )
    if sample.num_columns != data.column_embedding.size(0):
        raise ValueError(
            f"'column_sample' must be of the store of the contexts, and these a batch "
            f'as its loader makes them (got {sample.num_columns} columns for '
            f'{data.column_embedding.size(0)})'
        )
    return sample
