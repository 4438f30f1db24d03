from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor
from torch_geometric.data import Batch

from torch_geometric_rfm.data.cell_data import UNDATED, CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.column_quantiles import quantiles_of

_DAY = 86400


def random_cells(
    num_contexts: int = 1,
    num_cells: int | Sequence[int] = 32,
    num_tables: int = 3,
    num_columns: int = 12,
    text_channels: int = 8,
    num_texts: int = 5,
    label_type: CellType = CellType.NUMBER,
    seed: int = 0,
) -> CellData:
    r"""Contexts with random rows, links and values, for tests and examples.

    The columns run through all cell types in turn, the first being the label.
    Each row but the first has up to two parents, any rows of its context; some
    rows have no cell at all. Only the label of the seed row is hidden.

    Args:
        num_contexts (int, optional): Number of contexts. (default: :obj:`1`)
        num_cells (int or sequence of int, optional): Number of cells of every
            context, or of each. (default: :obj:`32`)
        num_tables (int, optional): Number of tables. (default: :obj:`3`)
        num_columns (int, optional): Number of columns. (default: :obj:`12`)
        text_channels (int, optional): Size of the embeddings of strings and
            columns. (default: :obj:`8`)
        num_texts (int, optional): Number of strings of a context.
            (default: :obj:`5`)
        label_type (CellType, optional): The type of the label.
            (default: :obj:`CellType.NUMBER`)
        seed (int, optional): The seed of all draws. (default: :obj:`0`)

    Example:
        >>> cells = random_cells(num_contexts=2, num_cells=[7, 4])
        >>> cells.batch.bincount()
        tensor([7, 4])
    """
    if num_contexts < 1:
        raise ValueError(f"'num_contexts' must be positive (got {num_contexts})")
    sizes = [num_cells] * num_contexts if isinstance(num_cells, int) else num_cells
    if len(sizes) != num_contexts or min(sizes) < 1:
        raise ValueError(
            f"'num_cells' must hold {num_contexts} positive sizes (got {num_cells})"
        )
    if num_columns < 1 or num_tables < 1 or num_texts < 1:
        raise ValueError(
            "'num_columns', 'num_tables' and 'num_texts' must be positive "
            f'(got {num_columns}, {num_tables}, {num_texts})'
        )
    generator = torch.Generator().manual_seed(seed)
    kinds = [CellType(i % len(CellType)) for i in range(num_columns)]
    kinds[0] = label_type
    contexts = [
        _context(i, size, kinds, num_tables, text_channels, num_texts, generator)
        for i, size in enumerate(sizes)
    ]
    return contexts[0] if num_contexts == 1 else Batch.from_data_list(contexts)


def _rows(num_cells: int, generator: Generator) -> Tensor:
    # A row has five cells on average; one in ten rows has none.
    skip = torch.rand(num_cells, generator=generator) < 0.2
    step = skip.long() * torch.randint(1, 3, (num_cells,), generator=generator)
    step[0] = 0
    return step.cumsum(0)


def _context(
    input_id: int,
    num_cells: int,
    kinds: list[CellType],
    num_tables: int,
    text_channels: int,
    num_texts: int,
    generator: Generator,
) -> CellData:
    def draw(high: int, size: int) -> Tensor:
        return torch.randint(high, (size,), generator=generator)

    row = _rows(num_cells, generator)
    num_rows = int(row[-1]) + 1
    column = draw(len(kinds), num_cells)
    column[0] = 0
    cell_type = torch.tensor(kinds)[column]
    is_string = cell_type >= CellType.CATEGORY
    is_datetime = cell_type == CellType.DATETIME
    mask = torch.zeros(num_cells, dtype=torch.bool)
    mask[0] = True

    value = torch.randn(num_cells, generator=generator)
    target = torch.full((num_cells,), torch.nan)
    if not is_string[0]:
        boolean = cell_type[0] == CellType.BOOLEAN
        target[0] = (value[0] > 0).float() if boolean else value[0]
    relative_time = -10 * torch.rand(num_cells, generator=generator)

    child = torch.arange(1, num_rows).repeat(2)
    keep = torch.rand(child.numel(), generator=generator) < 0.75
    parent = draw(num_rows, child.numel())[keep]
    child = child[keep]

    seed_time = 20_000 * _DAY
    row_time = seed_time - _DAY * draw(1000, num_rows)
    row_table = draw(num_tables, num_rows)
    row_time[row_table == num_tables - 1] = UNDATED
    row_time[0] = seed_time
    return CellData(
        value=value.masked_fill(is_string | mask, 0.0),
        relative_time=relative_time.masked_fill(~is_datetime | mask, 0.0),
        text_index=draw(num_texts, num_cells).masked_fill(~is_string | mask, -1),
        cell_type=cell_type,
        column=column,
        row=row,
        row_time=row_time,
        row_table=row_table,
        row_index=draw(100_000, num_rows),
        fkey_index=torch.stack([child, parent]),
        fkey_type=draw(2, child.numel()),
        text_embedding=torch.randn(num_texts, text_channels, generator=generator),
        column_embedding=torch.randn(len(kinds), text_channels, generator=generator),
        column_quantiles=torch.from_numpy(quantiles_of(np.zeros(0))).repeat(
            len(kinds), 1
        ),
        column_names=[f'column_{i} of table_0' for i in range(len(kinds))],
        table_names=[f'table_{i}' for i in range(num_tables)],
        fkey_names=['table_0.first', 'table_0.second'],
        seed_row=torch.tensor([0]),
        seed_time=torch.tensor([seed_time]),
        visible_until=torch.tensor([seed_time]),
        input_id=torch.tensor([input_id]),
        epoch=torch.tensor([0]),
        mask=mask,
        target=target,
        num_nodes=num_cells,
    )
