import torch

from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.data.cell_data import UNDATED
from torch_geometric_rfm.nn import visible_cells
from torch_geometric_rfm.testing import random_cells
from torch_geometric_rfm.transforms import MaskCells


def test_visible_cells():
    cells = random_cells(num_contexts=2, num_cells=200)
    cells = MaskCells('uniform', rate=0.5, corruption=(0.6, 0.0, 0.4))(cells)
    part = visible_cells(cells)
    chosen = cells.predict_mask
    assert cells.shown_mask.any()
    assert part.num_nodes == int((~chosen).sum())
    assert not part.predict_mask.any()
    assert torch.equal(part.value, cells.value[~chosen])
    # The time of a row whose datetime is asked for would answer it.
    hidden = set(cells.row[chosen & (cells.cell_type == CellType.DATETIME)].tolist())
    assert hidden
    for row in range(cells.num_rows):
        time = UNDATED if row in hidden else int(cells.row_time[row])
        assert int(part.row_time[row]) == time
