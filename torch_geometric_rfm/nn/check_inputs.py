import torch

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType


def check_inputs(cells: CellData) -> None:
    r"""Raises :class:`ValueError` if a cell holds NaN or infinity, and says in
    which table, column and row.

    Args:
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> check_inputs(random_cells())
    """
    column = ~torch.isfinite(cells.column_embedding).all(dim=1)
    text = ~torch.isfinite(cells.text_embedding).all(dim=1)
    visible = ~cells.mask
    string = visible & (cells.cell_type >= CellType.CATEGORY)
    bad = {
        'value': visible & ~torch.isfinite(cells.value),
        'relative_time': visible & ~torch.isfinite(cells.relative_time),
        'column_embedding': column[cells.column],
    }
    if text.numel() > 0:
        bad['text_embedding'] = string & text[cells.text_index.clamp(min=0)]
    for key, wrong in bad.items():
        if bool(wrong.any()):
            i = int(wrong.nonzero()[0])
            scalar = key in ('value', 'relative_time')
            value = float(cells[key][i]) if scalar else 'NaN or infinity'
            raise ValueError(
                f"'{key}' must be finite (got {value} in "
                f'{_place(cells, i)}); remove or mend the value, or hide the cell'
            )


def _place(cells: CellData, i: int) -> str:
    row, context = int(cells.row[i]), int(cells.batch_or_zeros[i])
    tables, columns = cells.table_names, cells.column_names
    # A batch made of single contexts keeps one list each.
    if isinstance(tables[0], list):
        tables = tables[context]
    if isinstance(columns[0], list):
        columns = [name for names in columns for name in names]
    return (
        f"table '{tables[int(cells.row_table[row])]}', column "
        f"'{columns[int(cells.column[i])]}', row {int(cells.row_index[row])}"
    )
