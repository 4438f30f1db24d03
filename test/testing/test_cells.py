import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import CellData, CellType
from torch_geometric_rfm.testing import random_cells


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_random_cells(sizes, seed):
    cells = random_cells(len(sizes), sizes, seed=seed)
    assert isinstance(cells, CellData)
    assert cells.num_nodes == sum(sizes)
    assert cells.batch_or_zeros.bincount().tolist() == sizes
    assert (cells.row.diff() >= 0).all()
    first = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    assert torch.equal(cells.row[first], cells.seed_row)
    assert cells.mask.nonzero().view(-1).tolist() == first.tolist()
    assert not cells.value[cells.mask].any()
    assert not cells.target[first].isnan().any()
    string = (cells.cell_type >= CellType.CATEGORY) & ~cells.mask
    assert not cells.value[string].any()
    assert (cells.text_index[string] >= 0).all()
    assert (cells.text_index < cells.text_embedding.size(0)).all()
    assert (cells.column < cells.column_embedding.size(0)).all()
    row_context = torch.searchsorted(cells.seed_row, cells.fkey_index, right=True)
    assert torch.equal(row_context[0], row_context[1])
    assert (cells.fkey_index < cells.num_rows).all()


def test_seed_and_label():
    a, b = random_cells(seed=3), random_cells(seed=3)
    assert torch.equal(a.value, b.value)
    assert not torch.equal(a.value, random_cells(seed=4).value)
    cells = random_cells(label_type=CellType.BOOLEAN)
    assert cells.cell_type[0] == CellType.BOOLEAN
    assert cells.target[0] in (0.0, 1.0)
    assert random_cells(label_type=CellType.TEXT).target.isnan().all()


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"'num_contexts' .*\(got 0\)"):
        random_cells(0)
    with pytest.raises(ValueError, match=r"'num_cells' must hold 2 .*\(got \[3\]\)"):
        random_cells(2, [3])
    with pytest.raises(ValueError, match=r"'num_cells' .*\(got 0\)"):
        random_cells(1, 0)
    with pytest.raises(ValueError, match=r'\(got 0, 3, 5\)'):
        random_cells(num_columns=0)
