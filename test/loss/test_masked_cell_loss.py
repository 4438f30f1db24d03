import math

import pytest
import torch

from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.testing import random_cells


@pytest.fixture
def cells():
    cells = random_cells(num_contexts=3, num_cells=[4, 3, 1])
    #                                  context 0          context 1    context 2
    cells.cell_type = torch.tensor([0, 0, 1, 3, 2, 1, 0, 0])
    cells.mask = torch.tensor([True] * 7 + [False])
    nan = math.nan
    cells.target = torch.tensor([1.0, 5.0, 1.0, 2.0, 0.5, 0.0, nan, 9.0])
    return cells


OUTPUT = [1.5, 2.0, 0.7, 9.0, 0.0, 0.7, 9.0, 9.0]
NUMBER = (0.5 * 0.5**2, 3.0 - 0.5)
BOOLEAN = (math.log(1 + math.exp(-0.7)), math.log(1 + math.exp(0.7)))
DATETIME = 0.5 * 0.5**2


def test_masked_cell_loss(cells):
    output = torch.tensor(OUTPUT, requires_grad=True)
    loss = MaskedCellLoss()
    assert str(loss) == "MaskedCellLoss(huber_delta=1.0, reduction='cell')"
    out = loss(output, cells)
    assert out.size() == ()
    expected = (sum(NUMBER) + sum(BOOLEAN) + DATETIME) / 5
    assert out.item() == pytest.approx(expected, abs=1e-6)

    figures = loss.last_figures
    assert list(figures) == ['number', 'boolean', 'datetime']
    assert not any(figure.requires_grad for figure in figures.values())
    assert figures['number'].item() == pytest.approx(sum(NUMBER) / 2, abs=1e-6)
    assert figures['boolean'].item() == pytest.approx(sum(BOOLEAN) / 2, abs=1e-6)
    assert figures['datetime'].item() == pytest.approx(DATETIME, abs=1e-6)

    out.backward()
    sigmoid = 1 / (1 + math.exp(-0.7))
    grad = [0.5, -1.0, sigmoid - 1, 0.0, -0.5, sigmoid, 0.0, 0.0]
    assert torch.allclose(output.grad, torch.tensor(grad) / 5, atol=1e-6)


def test_reduction_by_context(cells):
    loss = MaskedCellLoss(reduction='context')
    assert str(loss) == "MaskedCellLoss(huber_delta=1.0, reduction='context')"
    out = loss(torch.tensor(OUTPUT), cells)
    first = (sum(NUMBER) + BOOLEAN[0]) / 3
    second = (DATETIME + BOOLEAN[1]) / 2
    assert out.item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_huber_delta(cells):
    out = MaskedCellLoss(huber_delta=0.25)(torch.tensor(OUTPUT), cells)
    linear = 0.25 * (0.5 - 0.125) * 2 + 0.25 * (3.0 - 0.125)
    assert out.item() == pytest.approx((linear + sum(BOOLEAN)) / 5, abs=1e-6)


@pytest.mark.parametrize('reduction', ['cell', 'context'])
def test_no_cell_counts(cells, reduction):
    loss = MaskedCellLoss(reduction=reduction)
    loss(torch.tensor(OUTPUT), cells)
    cells.target = torch.full_like(cells.target, math.nan)
    output = torch.tensor(OUTPUT, requires_grad=True)
    out = loss(output, cells)
    assert out.item() == 0.0
    assert loss.last_figures == {}
    out.backward()
    assert not output.grad.any()


def test_double_precision(cells):
    out = MaskedCellLoss()(torch.tensor(OUTPUT, dtype=torch.double), cells)
    assert out.dtype == torch.double


def test_bad_arguments(cells):
    with pytest.raises(ValueError, match=r"'huber_delta' must be .*\(got 0.0\)"):
        MaskedCellLoss(huber_delta=0.0)
    with pytest.raises(ValueError, match=r"'reduction' must be .*\(got 'sum'\)"):
        MaskedCellLoss(reduction='sum')
    with pytest.raises(ValueError, match=r"'output' must hold one .* 8 .*\[7\]"):
        MaskedCellLoss()(torch.zeros(7), cells)
