import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import random_cells, toy_task_store
from torch_geometric_rfm.transforms import DropCells, MaskCells


def test_repr():
    assert (
        str(DropCells()) == "DropCells({'uniform': 0.5, 'row': 0.5}, rate=(0.01, 0.6))"
    )


def test_labels_and_hidden_cells_stay():
    cells = random_cells(num_contexts=4, num_cells=100)
    cells = MaskCells('uniform', 0.3, corruption=(0.8, 0, 0.2))(cells)
    asked = cells.target[cells.predict_mask].clone()
    left = DropCells('uniform', rate=0.9)(cells)
    assert torch.equal(left.target[left.predict_mask].nan_to_num(), asked.nan_to_num())
    assert (~left.predict_mask).sum() < 0.3 * (~cells.predict_mask).sum()
    assert left.num_rows == cells.num_rows
    assert left.ptr.diff().tolist() == torch.bincount(left.batch).tolist()


@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_cells_are_left_out_at_the_rate(rate):
    cells = random_cells(num_contexts=10, num_cells=1000)
    left = DropCells('uniform', rate=rate)(cells)
    # A binomial of 9,990 cells, at five standard deviations.
    error = 5 * np.sqrt(rate * (1 - rate) / 9990)
    assert left.num_nodes / cells.num_nodes == pytest.approx(1 - rate, abs=error)


def test_rows_are_left_out_whole():
    cells = random_cells(num_contexts=3, num_cells=200)
    cells.input_id = torch.tensor([4, 7, 9])
    left = DropCells('row', rate=0.5)(cells.clone())
    before = torch.bincount(cells.row[~cells.mask], minlength=cells.num_rows)
    after = torch.bincount(left.row[~left.mask], minlength=cells.num_rows)
    assert ((after == 0) | (after == before)).all()
    share = ((after == 0) & (before > 0)).sum() / (before > 0).sum()
    assert 0.3 < share < 0.7


def test_draws_depend_on_the_context_alone():
    store = toy_task_store()
    batches = []
    for batch_size, workers in ((6, 0), (2, 0), (3, 1)):
        loader = ContextLoader(
            store,
            input_nodes='val',
            batch_size=batch_size,
            num_cells=48,
            num_workers=workers,
            transform=DropCells(),
        )
        found = {}
        for batch in loader:
            for i, context in enumerate(batch.input_id.tolist()):
                own = batch.batch == i
                found[context] = [batch.column[own], batch.value[own].nan_to_num()]
        batches.append(found)
    for others in batches[1:]:
        assert others.keys() == batches[0].keys()
        for context, tensors in batches[0].items():
            for a, b in zip(tensors, others[context], strict=True):
                assert torch.equal(a, b)
    assert len({len(column) for column, _ in batches[0].values()}) > 3


def test_bad_input():
    with pytest.raises(ValueError, match='chooses links'):
        DropCells('foreign_key')
    with pytest.raises(ValueError, match="'rate' must lie"):
        DropCells(rate=1.0)
    with pytest.raises(TypeError, match='CellData'):
        DropCells()(Data())
