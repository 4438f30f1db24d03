import copy

import torch

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType


def negate_labels(cells: CellData) -> CellData:
    r"""Gives labels that are numbers or booleans the opposite sense: a task asks how
    few, or whether not.

    Labels are the first cell of each context and all others of its column, so that what
    those in a context say of the hidden one still holds. A model that sees a task in
    both senses learns to ask the context what a label means. The means of labels that
    :class:`~torch_geometric_rfm.sampler.LabelHistory` makes change with them.

    Args:
        cells (CellData): The contexts, which stay as they are.

    Example:
        >>> from torch_geometric_rfm.loader import ContextLoader
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> cells = next(iter(ContextLoader(toy_task_store(), batch_size=4)))
        >>> cells.target[cells.mask], negate_labels(cells).target[cells.mask]
        (tensor([0., 1., 1., 0.]), tensor([1., 0., 0., 1.]))
    """
    out = copy.copy(cells)
    ptr = cells.get('ptr')
    first = cells.column[:1] if ptr is None else cells.column[ptr[:-1]]
    asked = torch.zeros_like(cells.column_embedding[:, 0], dtype=torch.bool)
    asked[first] = True
    if (unit := cells.get('copy_column')) is not None:
        asked = asked[unit]
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
