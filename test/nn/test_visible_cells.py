import pytest
import torch

from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.data.cell_data import UNDATED
from torch_geometric_rfm.nn import select_cells, visible_cells
from torch_geometric_rfm.testing import random_cells
from torch_geometric_rfm.transforms import MaskCells


def test_select_cells():
    cells = random_cells(num_contexts=3, num_cells=[9, 2, 14])
    before = cells.clone()
    index = torch.tensor([0, 4, 8, 11, 12, 24])
    part = select_cells(cells, index)
    assert part.num_nodes == 6
    assert part.batch.tolist() == [0, 0, 0, 2, 2, 2]
    assert part.ptr.tolist() == [0, 3, 3, 6]
    for key in ('value', 'column', 'row', 'cell_type', 'text_index', 'mask'):
        assert torch.equal(part[key], before[key][index])
    for key in ('row_time', 'row_index', 'fkey_index', 'seed_row', 'seed_time'):
        assert torch.equal(part[key], before[key])
    for key, value in before.to_dict().items():
        if torch.is_tensor(value):
            assert torch.equal(cells[key].nan_to_num(), value.nan_to_num())
    assert select_cells(cells, index[:0]).ptr.tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match='ascending'):
        select_cells(cells, torch.tensor([3, 3]))


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
