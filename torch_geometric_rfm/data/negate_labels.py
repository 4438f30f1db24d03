import copy

import torch

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType


def negate_labels(cells: CellData) -> CellData:
    r"""Gives the numbers and booleans of the columns to predict the opposite sense: a
    task asks how few, or whether not.

    All cells of such a column change, seen and hidden, so that what the labels in a
    context say of the hidden one still holds. A model that sees a task in both senses
    learns to ask the context what the label means.

    Args:
        cells (CellData): The contexts, which stay as they are.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> from torch_geometric_rfm.transforms import MaskCells
        >>> cells = MaskCells('uniform', seed=0)(random_cells())
        >>> twice = negate_labels(negate_labels(cells))
        >>> torch.equal(twice.value, cells.value)
        True
    """
    out = copy.copy(cells)
    asked = torch.zeros(len(cells.column_embedding), dtype=torch.bool)
    asked[cells.column[cells.predict_mask & ~cells.target.isnan()]] = True
    boolean = cells.cell_type == CellType.BOOLEAN
    changed = asked[cells.column] & (boolean | (cells.cell_type == CellType.NUMBER))
    out.value = torch.where(changed, -cells.value, cells.value)
    out.target = torch.where(
        changed, torch.where(boolean, 1 - cells.target, -cells.target), cells.target
    )
    if cells.get('column_quantiles') is not None:
        edges = cells.column_quantiles
        out.column_quantiles = torch.where(asked[:, None], -edges.flip(1), edges)
    return out
