from dataclasses import replace
from itertools import islice

import pytest
import torch

from torch_geometric_rfm.data import (
    CellType,
    column_quantiles,
    negate_labels,
)
from torch_geometric_rfm.data.cell_data import concatenate
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import toy_task_store
from torch_geometric_rfm.transforms import MaskCells


def batch_of(store, history=0.0):
    loader = ContextLoader(
        store,
        input_nodes=store.rows_of_split('val')[:32],
        num_cells=48,
        batch_size=32,
        own_labels=0.5,
        history=history,
    )
    return next(iter(loader))


@pytest.mark.parametrize('history', [0.0, 0.3])
@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_is_the_task_with_the_opposite_labels(kind, history):
    store = toy_task_store(kind)
    frame = store.task.frame.copy()
    frame['label'] = 1 - frame['label'] if kind == 'binary' else -frame['label']
    opposite = store.store.with_task(replace(store.task, frame=frame))

    before = batch_of(store, history)
    cells, expected = negate_labels(before), batch_of(opposite, history)
    shown = (cells.value != before.value).sum()
    assert shown > 16  # Labels of the same entity, which were there before.
    torch.testing.assert_close(cells.value, expected.value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        cells.target, expected.target, atol=1e-5, rtol=1e-5, equal_nan=True
    )
    assert torch.equal(cells.mask, expected.mask)
    torch.testing.assert_close(
        cells.column_quantiles, expected.column_quantiles, atol=1e-4, rtol=1e-4
    )


def test_changes_nothing_else():
    # Other columns keep their sense, hidden cells of theirs too.
    transform = MaskCells('uniform', rate=0.4, seed=1)
    store = toy_task_store('regression')
    loader = ContextLoader(store, num_cells=48, batch_size=16, transform=transform)
    cells = next(iter(loader))
    before = cells.clone()
    out = negate_labels(cells)
    assert torch.equal(cells.value, before.value)
    phrase = f'{store.task.target_col} of {store.task.name}'
    label = before.phrases.index(phrase)
    other = before.column != label
    hidden = other & before.mask & (before.cell_type == CellType.NUMBER)
    assert hidden.any()
    for key in ('value', 'target'):
        now, then = out[key].nan_to_num(), before[key].nan_to_num()
        assert torch.equal(now, torch.where(other, then, -then))
    for key in ('text_index', 'relative_time', 'row', 'column', 'mask'):
        assert torch.equal(out[key], before[key])


def test_joined_batches():
    loader = ContextLoader(
        toy_task_store('regression'), num_cells=48, batch_size=8, history=0.3
    )
    one, other = islice(loader, 2)
    both = negate_labels(concatenate([one, other]))
    expected = concatenate([negate_labels(one), negate_labels(other)])
    assert torch.equal(both.value, expected.value)
    assert torch.equal(both.column_quantiles, expected.column_quantiles)


def test_classes_have_no_opposite():
    cells = batch_of(toy_task_store('multiclass'))
    out = negate_labels(cells)
    assert torch.equal(out.value, cells.value)
    assert torch.equal(out.target.nan_to_num(-1.0), cells.target.nan_to_num(-1.0))


def test_edges_of_bins_stay_in_order():
    store = toy_task_store('regression')
    cells = batch_of(store)
    cells.column_quantiles = column_quantiles(store)
    out = negate_labels(cells).column_quantiles
    assert (out.diff(dim=1) >= 0).all()
    changed = (out != cells.column_quantiles).any(1)
    asked = cells.column[cells.mask & ~cells.target.isnan()].unique()
    assert torch.equal(changed.nonzero()[:, 0], asked)
    assert torch.equal(out[asked[0]], -cells.column_quantiles[asked[0]].flip(0))
