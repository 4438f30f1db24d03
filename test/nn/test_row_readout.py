import pytest
import torch

from torch_geometric_rfm.nn import RowReadout
from torch_geometric_rfm.testing import random_cells


def test_row_readout():
    torch.manual_seed(0)
    cells = random_cells(num_contexts=3, num_cells=12, seed=1)
    readout = RowReadout(8).double()
    assert str(readout) == 'RowReadout(8)'
    x = torch.randn(cells.row.numel(), 8, dtype=torch.float64, requires_grad=True)

    out = readout(x, cells)
    assert out.size() == (cells.num_rows, 8)
    for row in range(cells.num_rows):
        own = x[cells.row == row]
        mean = own.mean(dim=0) if len(own) else readout.empty
        torch.testing.assert_close(out[row], readout.lin(mean))
    out.sum().backward()
    assert x.grad.isfinite().all()


def test_row_readout_of_rows_without_cells():
    cells = random_cells(num_contexts=1, num_cells=6, seed=0)
    cells.row = torch.zeros_like(cells.row)
    readout = RowReadout(4)
    x = torch.randn(6, 4)
    out = readout(x, cells)
    assert cells.num_rows > 1
    torch.testing.assert_close(out[0], readout.lin(x.mean(dim=0)))
    expected = readout.lin(readout.empty).expand(cells.num_rows - 1, -1)
    torch.testing.assert_close(out[1:], expected)


def test_row_readout_wants_one_embedding_a_cell():
    cells = random_cells(num_contexts=1, num_cells=6, seed=0)
    with pytest.raises(ValueError, match=r"'x' must have .* \[6, 4\] \(got \[5, 4\]\)"):
        RowReadout(4)(torch.randn(5, 4), cells)
