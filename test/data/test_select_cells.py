import pytest
import torch

from torch_geometric_rfm.data import select_cells
from torch_geometric_rfm.testing import random_cells


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
