import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData

_PER_CELL = (
    'value',
    'relative_time',
    'text_index',
    'cell_type',
    'column',
    'row',
    'mask',
    'target',
    'target_text_index',
    'target_candidate',
    'shown_mask',
    'batch',
)


def select_cells(cells: CellData, index: Tensor) -> CellData:
    r"""The contexts with some of their cells only. Rows, links, and all ids stay.

    Args:
        cells (CellData): The contexts.
        index (Tensor): The cells :obj:`[M]` to keep, in ascending order.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_contexts=2, num_cells=8)
        >>> part = select_cells(cells, torch.tensor([0, 3, 9]))
        >>> part.num_nodes, part.num_rows == cells.num_rows, part.ptr
        (3, True, tensor([0, 2, 3]))
    """
    if index.numel() > 1 and bool((index[1:] <= index[:-1]).any()):
        raise ValueError("'index' must be in ascending order, no cell twice")
    out: CellData = cells.__class__()
    for key, value in cells.items():
        per_cell = key in _PER_CELL and value is not None
        out[key] = value[index] if per_cell else value
    out.num_nodes = index.numel()
    if out.get('ptr') is not None:
        count = torch.bincount(out.batch, minlength=cells.num_contexts)
        out.ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return out
