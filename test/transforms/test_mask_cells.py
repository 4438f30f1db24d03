import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.data.datapipes import DatasetAdapter

from torch_geometric_rfm.data import (
    CellStore,
    CellType,
    HashingTextEncoder,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import random_cells, toy_database
from torch_geometric_rfm.transforms import MaskCells


def test_repr():
    assert str(MaskCells()) == "MaskCells(strategy='target', rate=0.15)"
    assert str(MaskCells('uniform', 0.5)) == "MaskCells(strategy='uniform', rate=0.5)"


def test_target():
    cells = random_cells(num_contexts=2)
    out = MaskCells()(cells)
    assert torch.equal(out.mask, cells.mask)
    assert torch.equal(out.value, cells.value)


def test_uniform():
    cells = random_cells(num_contexts=3, num_cells=[200, 150, 80])
    before = cells.clone()
    out = MaskCells('uniform', rate=0.4)(cells)
    for key, value in before.to_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value.nan_to_num(9), cells[key].nan_to_num(9)), key

    added = out.mask & ~cells.mask
    assert out.mask[cells.mask].all()
    scalar = cells.cell_type <= CellType.DATETIME
    assert not added[~scalar].any()
    for kind in (CellType.NUMBER, CellType.BOOLEAN, CellType.DATETIME):
        chosen = added & (cells.cell_type == kind)
        share = chosen.sum() / (~cells.mask & (cells.cell_type == kind)).sum()
        assert 0.2 < share < 0.6
        truth = cells.value[chosen]
        if kind == CellType.BOOLEAN:
            truth = (truth > 0).float()
        assert torch.equal(out.target[chosen], truth)

    assert not out.value[added].any()
    assert not out.relative_time[added].any()
    for key in ('value', 'relative_time'):
        assert torch.equal(out[key][~added], cells[key][~added])
    rest = ~added
    assert torch.equal(out.target[rest].nan_to_num(9), cells.target[rest].nan_to_num(9))
    assert torch.equal(out.text_index, cells.text_index)


def test_draws_do_not_depend_on_the_batch():
    cells = random_cells(num_contexts=4, num_cells=[50, 40, 30, 60])
    transform = MaskCells('uniform', rate=0.3, seed=5)
    mask = transform(cells).mask
    contexts = cells.to_data_list()
    alone = [transform(context).mask for context in contexts]
    assert torch.equal(mask, torch.cat(alone))
    other = transform(Batch.from_data_list([contexts[3], contexts[1]])).mask
    assert torch.equal(other, torch.cat([alone[3], alone[1]]))

    assert torch.equal(mask, MaskCells('uniform', rate=0.3, seed=5)(cells).mask)
    assert not torch.equal(mask, MaskCells('uniform', rate=0.3, seed=6)(cells).mask)
    renamed = cells.clone()
    renamed.input_id = cells.input_id + 1
    assert not torch.equal(mask, transform(renamed).mask)


@pytest.mark.parametrize('seed', [0, -3, 2**62])
def test_draws_are_uniform_and_independent(seed):
    cells = random_cells(num_cells=20_000, num_columns=1)
    cells.input_id = torch.tensor([2**40])
    draws = []
    for rate in (0.1, 0.5, 0.9):
        added = MaskCells('uniform', rate, seed)(cells).mask & ~cells.mask
        assert abs(added.float().mean() - rate) < 0.02
        draws.append(added)
    # A higher rate hides the same cells and more; neighbours do not agree.
    assert not (draws[0] & ~draws[1]).any()
    pairs = (draws[1][1:-1] & draws[1][2:]).float().mean()
    assert abs(pairs - 0.25) < 0.02


def test_chained_transforms_never_unhide():
    cells = random_cells(num_cells=200)
    once = MaskCells('uniform', rate=0.3, seed=1)(cells)
    twice = MaskCells('uniform', rate=0.3, seed=2)(once)
    assert twice.mask[once.mask].all()
    assert twice.mask.sum() > once.mask.sum()
    known = once.target[once.mask].nan_to_num(9)
    assert torch.equal(twice.target[once.mask].nan_to_num(9), known)


def test_functional_name():
    cells = random_cells()
    (out,) = DatasetAdapter([cells]).mask_cells('uniform', rate=0.5)
    assert torch.equal(out.mask, MaskCells('uniform', rate=0.5)(cells).mask)


def test_bad_arguments():
    for rate in (0.0, 1.0, -0.5, float('nan')):
        with pytest.raises(ValueError, match=rf"'rate' must lie .*\(got {rate}\)"):
            MaskCells('uniform', rate=rate)
    with pytest.raises(ValueError, match=r"'strategy' must be .*\(got 'rows'\)"):
        MaskCells('rows')
    with pytest.raises(TypeError, match=r'must be a CellData \(got Data\)'):
        MaskCells()(Data())


@pytest.mark.parametrize('constant', [False, True])
def test_the_truth_of_a_constant_boolean(constant):
    db = toy_database()
    db.table_dict['orders'].df['gift'] = constant
    data, col_stats = to_hetero(db)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=HashingTextEncoder(8), cache_dir=False
    )
    time = torch.tensor(2_000_000_000)
    loader = ContextLoader(
        store,
        input_nodes='customers',
        input_time=time,
        transform=MaskCells('uniform', rate=0.9),
    )
    cells = next(iter(loader))
    gift = cells.column == cells.column_names.index('gift of orders')
    truth = cells.target[gift & cells.mask]
    assert truth.numel() > 20
    assert (truth == float(constant)).all()
