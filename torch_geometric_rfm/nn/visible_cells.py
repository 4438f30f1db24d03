from torch_geometric_rfm.data.cell_data import UNDATED, CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.select_cells import select_cells


def visible_cells(cells: CellData) -> CellData:
    r"""The contexts with only those cells that are not to be predicted, and without
    the time of rows whose datetime is.

    Args:
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=8)
        >>> visible_cells(cells).num_nodes
        7
    """
    chosen = cells.predict_mask
    out = select_cells(cells, (~chosen).nonzero().view(-1))
    hidden = cells.row[chosen & (cells.cell_type == CellType.DATETIME)]
    out.row_time = cells.row_time.index_fill(0, hidden, UNDATED)
    return out
