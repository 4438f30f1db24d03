import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.nn.masks.id_mask import IdMask
from torch_geometric_rfm.nn.masks.join import ragged_lists


def row_parents(cells: CellData) -> Tensor:
    r"""The rows that the foreign keys of each row point to :obj:`[R, P]`,
    filled up with -1.

    Args:
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells()
        >>> cells.fkey_index = torch.tensor([[1, 1, 2], [0, 2, 0]])
        >>> row_parents(cells)[:3]
        tensor([[-1, -1],
                [ 0,  2],
                [ 0, -1]])
    """
    child, parent = cells.fkey_index
    return ragged_lists(child, parent, cells.num_rows)


def column_mask(cells: CellData) -> IdMask:
    r"""A cell attends to the cells of its own column.

    Args:
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> column_mask(random_cells(num_cells=5)).is_partition
        True
    """
    return IdMask(cells.column, cells.column)


def feature_mask(cells: CellData) -> IdMask:
    r"""A cell attends to the cells of its own row and of the row's parents.

    Args:
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=5)
        >>> torch.equal(feature_mask(cells).key, cells.row)
        True
    """
    parents = row_parents(cells)[cells.row]  # [N, P]
    return IdMask(torch.cat([cells.row.unsqueeze(1), parents], dim=1), cells.row)


def neighbor_mask(cells: CellData) -> IdMask:
    r"""A cell attends to the cells of the rows that refer to its row.

    Args:
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=5)
        >>> torch.equal(neighbor_mask(cells).query, cells.row)
        True
    """
    return IdMask(cells.row, row_parents(cells)[cells.row])


def full_mask(cells: CellData) -> IdMask:
    r"""A cell attends to all cells of its context.

    Args:
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> full_mask(random_cells(num_cells=5)).query
        tensor([0, 0, 0, 0, 0])
    """
    same = torch.zeros_like(cells.row)
    return IdMask(same, same)
