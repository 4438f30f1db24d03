import math

import pytest
import torch
from torch_geometric.data import Batch

from torch_geometric_rfm.data import CellType
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
    linear = (0.5 - 0.125) * 2 + (3.0 - 0.125)
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
    with pytest.raises(ValueError, match=r"'huber_delta' must be .*\(got nan\)"):
        MaskedCellLoss(huber_delta=math.nan)
    with pytest.raises(ValueError, match=r"'weights' .* \(got -1.0 for 'number'\)"):
        MaskedCellLoss(weights={'number': -1.0})
    zero = dict.fromkeys([kind.name.lower() for kind in CellType], 0)
    with pytest.raises(ValueError, match=r"one of the 'weights' must be above 0"):
        MaskedCellLoss(weights=zero)
    with pytest.raises(ValueError, match=r"'losses' must be of number.*got 'text'"):
        MaskedCellLoss(losses={'text': 'l1'})
    with pytest.raises(ValueError, match=r"'losses' must be functions or .*l7"):
        MaskedCellLoss(losses={'number': 'l7'})
    with pytest.raises(ValueError, match=r'unknown cell type .*numbers'):
        MaskedCellLoss(losses={'numbers': 'l1'})


def test_losses_and_weights(cells):
    loss = MaskedCellLoss(
        losses={'number': 'l1', 'datetime': lambda pred, target: 3 + 0 * pred},
        weights={'boolean': 0.5, 'datetime': 2.0},
    )
    out = loss(torch.tensor(OUTPUT), cells)
    expected = (0.5 + 3.0 + 0.5 * sum(BOOLEAN) + 2 * 3.0) / 5
    assert out.item() == pytest.approx(expected, abs=1e-6)
    # Figures are losses before the factor.
    assert loss.last_figures['boolean'].item() == pytest.approx(sum(BOOLEAN) / 2)
    assert loss.last_figures['datetime'].item() == pytest.approx(3.0)

    none = MaskedCellLoss(weights={'number': 0.0, 'datetime': 0.0})
    out = none(torch.tensor(OUTPUT), cells)
    assert out.item() == pytest.approx(sum(BOOLEAN) / 2, abs=1e-6)
    assert list(none.last_figures) == ['boolean']
    squared = MaskedCellLoss(losses={'boolean': 'mse'}, weights={'number': 0.0})
    out = squared(torch.tensor(OUTPUT), cells)
    assert out.item() == pytest.approx((DATETIME + 0.3**2 + 0.7**2) / 3, abs=1e-6)


def test_figures_by_column(cells):
    cells.column = torch.tensor([0, 1, 2, 3, 4, 2, 0, 0])
    loss = MaskedCellLoss()
    loss(torch.tensor(OUTPUT), cells)
    figures = loss.column_figures()
    expected = {0: NUMBER[0], 1: NUMBER[1], 2: sum(BOOLEAN) / 2, 4: DATETIME}
    assert figures == {
        f'column_{i} of table_0': pytest.approx(value, abs=1e-6)
        for i, value in expected.items()
    }
    # Batches of single contexts number the same columns anew.
    both = Batch.from_data_list([cells, cells])
    loss(torch.tensor(OUTPUT * 2), both)
    assert loss.column_figures() == figures


@pytest.mark.parametrize('reduction', ['cell', 'context'])
def test_contexts_with_nothing_to_predict_are_counted(cells, reduction):
    loss = MaskedCellLoss(reduction=reduction)
    output = torch.tensor(OUTPUT)
    loss(output, cells)
    assert loss.last_skipped == 1  # The third, whose cell is visible.
    before = loss(output[:7], _first_two(cells))
    assert loss.last_skipped == 0
    assert loss(output, cells) == before
    cells.target = torch.full_like(cells.target, math.nan)
    assert loss(output, cells) == 0
    assert loss.last_skipped == 3
    assert loss.column_figures() == {}


def _first_two(cells):
    first = cells.clone()
    first.seed_row = cells.seed_row[:2]
    for key in ('cell_type', 'mask', 'target', 'column', 'batch', 'value'):
        first[key] = cells[key][:7]
    return first


def test_shown_cells_count(cells):
    cells.shown_mask = cells.mask.clone()
    cells.mask = torch.zeros_like(cells.mask)
    expected = (sum(NUMBER) + sum(BOOLEAN) + DATETIME) / 5
    out = MaskedCellLoss()(torch.tensor(OUTPUT), cells)
    assert out.item() == pytest.approx(expected, abs=1e-6)


def test_autocast_promotes(cells):
    def single(pred, target):
        return (pred - target).abs().float()

    output = torch.tensor(OUTPUT, dtype=torch.bfloat16)
    out = MaskedCellLoss(losses={'number': single})(output, cells)
    assert out.dtype == torch.float
