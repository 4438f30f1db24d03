from dataclasses import replace

import pytest
import torch

from torch_geometric_rfm.data import CellType, column_quantiles, negate_labels
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import random_cells, toy_task_store
from torch_geometric_rfm.transforms import MaskCells


def batch_of(store):
    rows = store.rows_of_split('val')[:16]
    loader = ContextLoader(
        store, input_nodes=rows, num_cells=48, batch_size=16, own_labels=0.5
    )
    return next(iter(loader))


@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_is_the_task_with_the_opposite_labels(kind):
    store = toy_task_store(kind)
    frame = store.task.frame.copy()
    frame['label'] = 1 - frame['label'] if kind == 'binary' else -frame['label']
    opposite = store.store.with_task(replace(store.task, frame=frame))

    cells = negate_labels(batch_of(store))
    expected = batch_of(opposite)
    shown = (cells.value != batch_of(store).value).sum()
    assert shown > 16  # Labels of the same entity, which were there before.
    torch.testing.assert_close(cells.value, expected.value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        cells.target, expected.target, atol=1e-5, rtol=1e-5, equal_nan=True
    )
    assert torch.equal(cells.mask, expected.mask)


def test_changes_nothing_else():
    cells = MaskCells('uniform', rate=0.3, seed=1)(random_cells(seed=2))
    before = cells.clone()
    out = negate_labels(cells)
    assert torch.equal(cells.value, before.value)
    asked = before.column[before.predict_mask & ~before.target.isnan()].unique()
    kinds = torch.tensor([CellType.NUMBER, CellType.BOOLEAN])
    changed = torch.isin(before.column, asked) & torch.isin(before.cell_type, kinds)
    assert 0 < int(changed.sum()) < len(changed)
    assert torch.equal(out.value[~changed], before.value[~changed])
    assert torch.equal(out.value[changed], -before.value[changed])
    for key in ('text_index', 'relative_time', 'row', 'column', 'mask'):
        assert torch.equal(out[key], before[key])


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
