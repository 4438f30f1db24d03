import re

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
from torch_geometric_rfm.transforms import MaskCells, MaskStrategy
from torch_geometric_rfm.transforms.masking.mask_strategy import STRATEGIES


def test_repr():
    assert str(MaskCells()) == "MaskCells(strategy='target', rate=(0.15, 0.3))"
    assert str(MaskCells('uniform', 0.5)) == "MaskCells(strategy='uniform', rate=0.5)"
    bert = MaskCells([('row', 1), ('column', 3)], 0.15, corruption=(0.8, 0.1, 0.1))
    assert str(bert) == (
        'MaskCells(strategy={row: 0.25, column: 0.75}, rate=0.15, '
        'corruption=(0.8, 0.1, 0.1))'
    )


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
    string = cells.cell_type >= CellType.CATEGORY
    for kind in CellType:
        chosen = added & (cells.cell_type == kind)
        share = chosen.sum() / (~cells.mask & (cells.cell_type == kind)).sum()
        assert 0.2 < share < 0.6
        truth = cells.value[chosen]
        if kind == CellType.BOOLEAN:
            truth = (truth > 0).float()
        if kind.is_string:
            truth = cells.text_index[chosen]
            assert torch.equal(out.target_text_index[chosen], truth)
            truth = torch.zeros(chosen.sum())
        assert torch.equal(out.target[chosen], truth)

    for key in ('value', 'relative_time', 'text_index'):
        assert not out[key][added].any()
        assert torch.equal(out[key][~added], cells[key][~added])
    rest = ~added
    assert torch.equal(out.target[rest].nan_to_num(9), cells.target[rest].nan_to_num(9))
    assert not out.target_text_index[~(added & string)].any()
    assert 'shown_mask' not in out
    assert 'fkey_target_index' not in out


def test_columns():
    cells = random_cells(num_cells=200)
    phrases = ['column_3 of table_0', 'column_5 of table_0']
    out = MaskCells('uniform', rate=0.9, columns=phrases)(cells)
    assert set(cells.column[out.mask & ~cells.mask].tolist()) == {3, 5}
    both = Batch.from_data_list([cells, cells])
    out = MaskCells('uniform', rate=0.9, columns=phrases)(both)
    assert set((both.column[out.mask & ~both.mask] % 12).tolist()) == {3, 5}
    unknown = MaskCells('uniform', columns=['column_3 of table_0', 'colour of cars'])
    with pytest.raises(
        ValueError, match=r"'columns' .*got 'colour of cars', known.*11"
    ):
        unknown(cells)


@pytest.mark.parametrize('rate', [0.3, (0.2, 0.4)])
def test_links_are_moved(rate):
    cells = random_cells(num_contexts=3, num_cells=[90, 1, 60])
    out = MaskCells('foreign_key', rate)(cells)
    assert torch.equal(out.mask, cells.mask)
    assert torch.equal(out.value, cells.value)

    def links(index, kind):
        return sorted(map(tuple, torch.cat([index, kind[None]]).T.tolist()))

    kept = links(out.fkey_index, out.fkey_type)
    moved = links(out.fkey_target_index, out.fkey_target_type)
    assert 0 < len(moved) < len(kept)
    assert sorted(kept + moved) == links(cells.fkey_index, cells.fkey_type)
    again = MaskCells('foreign_key', rate, seed=1)(out)
    assert set(links(again.fkey_target_index, again.fkey_target_type)) > set(moved)
    # Joined to others, links shift as their rows do.
    both = Batch.from_data_list([out, out])
    index = out.fkey_target_index
    shifted = torch.cat([index, index + out.num_rows], dim=1)
    assert torch.equal(both.fkey_target_index, shifted)


def test_the_question_keeps_its_link():
    cells = random_cells(num_contexts=2)
    cells.fkey_index = cells.seed_row.repeat(2, 1) + torch.tensor([[0], [1]])
    cells.fkey_type = torch.zeros(2, dtype=torch.long)
    out = MaskCells('foreign_key', 0.99)(cells)
    assert out.fkey_target_index.size() == (2, 0)
    cells.mask = torch.zeros_like(cells.mask)
    assert MaskCells('foreign_key', 0.99)(cells).fkey_target_index.size() == (2, 2)


def test_a_strategy_of_ones_own():
    class Even(MaskStrategy):
        name = 'even'

        def cells(self, view):
            return view.column % 2 == 0

    try:
        cells = random_cells(num_cells=80)
        out = MaskCells('even')(cells)
        assert torch.equal(out.mask, cells.mask | (cells.column % 2 == 0))
        assert repr(MaskCells(Even())) == "MaskCells(strategy='even', rate=(0.15, 0.3))"
    finally:
        del STRATEGIES['even']


def test_nothing_to_hide():
    cells = random_cells(num_contexts=2, num_cells=1)  # Labels alone.
    for name in STRATEGIES:
        out = MaskCells(name, corruption=(1.0, 0.0, 0.0))(cells)
        assert torch.equal(out.mask, cells.mask)
        assert torch.equal(out.target, cells.target)


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


@pytest.mark.parametrize(
    'strategy', ['row', 'column', 'neighborhood', {'uniform': 1, 'foreign_key': 2}]
)
def test_strategies_do_not_depend_on_the_batch(strategy):
    cells = random_cells(num_contexts=4, num_cells=[50, 40, 30, 60])
    transform = MaskCells(strategy, seed=3)
    contexts = cells.to_data_list()
    alone = [transform(context) for context in contexts]
    for order in ([0, 1, 2, 3], [3, 0], [2, 1, 3]):
        out = transform(Batch.from_data_list([contexts[i] for i in order]))
        joined = Batch.from_data_list([alone[i] for i in order])
        for key in ('mask', 'target', 'fkey_index', 'fkey_target_index'):
            if key in joined:
                assert torch.equal(out[key].nan_to_num(9), joined[key].nan_to_num(9))
        if 'fkey_target_index' in out and len(order) == 4:
            assert out.fkey_target_index.numel() > 0
    assert torch.cat([a.mask for a in alone]).sum() > 10
    later = cells.clone()
    later.epoch = cells.epoch + 1
    first, second = transform(cells), transform(later)
    assert not torch.equal(first.mask, second.mask)


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
    for rate in (0.0, 1.0, -0.5, float('nan'), (0.2, 1.0), (0.1, 0.2, 0.3)):
        match = r"'rate' must lie strictly .*\(got " + re.escape(str(rate))
        with pytest.raises(ValueError, match=match):
            MaskCells('uniform', rate=rate)
    with pytest.raises(ValueError, match=r"'rate' .* low to high \(got \(0.3, 0.2\)\)"):
        MaskCells('uniform', rate=(0.3, 0.2))
    known = "'column', 'foreign_key', 'neighborhood', 'row', .*'target', 'uniform'"
    with pytest.raises(ValueError, match=rf"'strategy' .*{known} \(got 'rows'\)"):
        MaskCells('rows')
    with pytest.raises(ValueError, match=r"'strategy' must be one of .*\(got 'rows'\)"):
        MaskCells({'uniform': 1, 'rows': 1})
    for mixture in ([], {}, 3, [('uniform', 1, 2)], ['uniform', 'row']):
        with pytest.raises(ValueError, match=r"'strategy' must be a name, a Mask.*got"):
            MaskCells(mixture)
    for weights in ((0, 0), (1, -1), (2, -1), (float('nan'), 1), (float('inf'), 1)):
        with pytest.raises(ValueError, match=r"weights of 'strategy' must be .*got \["):
            MaskCells(dict(zip(['uniform', 'row'], weights)))
    for corruption in ((0.8, 0.1), 0.5, None):
        with pytest.raises(ValueError, match=r"'corruption' must hold three shares"):
            MaskCells('uniform', corruption=corruption)
    for corruption in ((0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float('nan'), 0.0, 1.0)):
        with pytest.raises(ValueError, match=r"'corruption' .* sum to 1 \(got"):
            MaskCells('uniform', corruption=corruption)
    for argument in ('cell_types', 'columns'):
        for value in ([], 'number'):
            with pytest.raises(
                ValueError, match=rf"'{argument}' .* at least one .*got"
            ):
                MaskCells('uniform', **{argument: value})
    with pytest.raises(ValueError, match=r'unknown cell type .*numbers.*known are'):
        MaskCells('uniform', cell_types=['numbers'])
    with pytest.raises(TypeError, match=r'a CellData or HeteroData \(got Data\)'):
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
