import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.nn import (
    DenseMask,
    IdMask,
    attention_masks,
    column_mask,
    feature_mask,
    full_mask,
    neighbor_mask,
    register_mask,
    row_parents,
    to_edge_index,
)
from torch_geometric_rfm.testing import random_cells

FUNCTIONS = {
    'column': column_mask,
    'feature': feature_mask,
    'neighbor': neighbor_mask,
    'full': full_mask,
}


def brute_force(cells, name):
    links = set(map(tuple, cells.fkey_index.t().tolist()))
    batch = cells.batch_or_zeros.tolist()
    row, column = cells.row.tolist(), cells.column.tolist()
    pairs = set()
    for i in range(len(row)):
        for j in range(len(row)):
            attends = {
                'column': column[i] == column[j],
                'feature': row[i] == row[j] or (row[i], row[j]) in links,
                'neighbor': (row[j], row[i]) in links,
                'full': True,
            }[name]
            if batch[i] == batch[j] and attends:
                pairs.add((i, j))
    return pairs


def pairs_of_dense(cells, mask):
    batch = cells.batch_or_zeros.tolist()
    cell = {}
    for i, b in enumerate(batch):
        cell[b, i - batch.index(b)] = i
    hits = mask.nonzero().tolist()
    return {(cell[b, i], cell[b, j]) for b, i, j in hits}


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 14), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_masks_match_their_definition(sizes, seed):
    cells = random_cells(len(sizes), sizes, seed=seed)
    edges = attention_masks(cells, backend='edge_index')
    dense = attention_masks(cells, backend='dense')
    for name, function in FUNCTIONS.items():
        expected = brute_force(cells, name)
        assert isinstance(function(cells), IdMask)
        for edge_index in (
            edges[name],
            dense[name].to_edge_index(),
            to_edge_index(cells, name),
            to_edge_index(cells, function),
        ):
            found = [(i, j) for j, i in edge_index.t().tolist()]
            assert len(found) == len(expected)
            assert set(found) == expected


def test_direction_of_links():
    cells = random_cells(num_cells=3)
    cells.row = torch.tensor([0, 1, 2])
    cells.row_time = torch.zeros(3, dtype=torch.long)
    # Row 0 refers to row 1 (twice) and row 2 to row 0.
    cells.fkey_index = torch.tensor([[0, 0, 2], [1, 1, 0]])
    masks = attention_masks(cells, backend='dense')
    assert masks['feature'].mask[0].tolist() == [
        [True, True, False],
        [False, True, False],
        [True, False, True],
    ]
    assert masks['neighbor'].mask[0].tolist() == [
        [False, False, True],
        [True, False, False],
        [False, False, False],
    ]


def test_attention_masks():
    cells = random_cells(num_contexts=2, num_cells=[6, 4])
    masks = attention_masks(cells)
    assert list(masks) == ['column', 'feature', 'neighbor', 'full']
    for name, mask in masks.items():
        assert isinstance(mask, DenseMask)
        assert mask.shape == (2, 6)
        assert mask.num_cells == 10
        assert mask.index.tolist() == [*range(10)]
        assert pairs_of_dense(cells, mask.mask) == brute_force(cells, name)

    cells = random_cells(num_contexts=2, num_cells=[4, 6])
    masks = attention_masks(cells, names=['full'])
    assert masks['full'].index.tolist() == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]

    cells = random_cells(num_contexts=2, num_cells=4)
    masks = attention_masks(cells)
    assert masks['full'].mask is None
    assert masks['full'].attn_mask is None
    assert masks['full'].empty is None
    assert masks['column'].index is None
    edge_index = attention_masks(cells, ['full'], backend='edge_index')['full']
    assert edge_index.size() == (2, 32)


def test_one_cell():
    masks = attention_masks(random_cells(num_cells=1))
    assert masks['full'].shape == (1, 1)
    assert masks['column'].num_keys.tolist() == [1]
    assert masks['feature'].mask.tolist() == [[[True]]]


def test_no_cells():
    cells = random_cells(num_cells=1)
    for key in ('value', 'column', 'row', 'cell_type', 'mask'):
        cells[key] = cells[key][:0]
    for mask in attention_masks(cells).values():
        assert mask.shape == (1, 0)
        assert mask.num_cells == 0
    edges = attention_masks(cells, backend='edge_index')
    assert all(edge_index.size() == (2, 0) for edge_index in edges.values())


def test_register_mask(monkeypatch):
    # The package exports a function by the name of this module.
    module = importlib.import_module('torch_geometric_rfm.nn.attention_masks')
    monkeypatch.setattr(module, '_MASKS', {})

    @register_mask('same_table')
    def same_table(cells):
        table = cells.row_table[cells.row]
        return IdMask(table, table)

    cells = random_cells(num_contexts=2, num_cells=[3, 5], num_tables=2)
    masks = attention_masks(cells, ['same_table'])
    table = cells.row_table[cells.row].tolist()
    batch = cells.batch.tolist()
    assert pairs_of_dense(cells, masks['same_table'].mask) == {
        (i, j)
        for i in range(8)
        for j in range(8)
        if batch[i] == batch[j] and table[i] == table[j]
    }
    with pytest.raises(ValueError, match="must not be taken .* 'same_table'"):
        register_mask('same_table')
    with pytest.raises(ValueError, match='must be an identifier'):
        register_mask('same.table')


def test_bad_arguments():
    cells = random_cells()
    with pytest.raises(ValueError, match=r"got \['rows'\], known are: column, feat"):
        attention_masks(cells, ['column', 'rows'])
    with pytest.raises(ValueError, match='must differ'):
        attention_masks(cells, ['full', 'full'])
    with pytest.raises(TypeError, match=r"a sequence of masks \(got 'full'\)"):
        attention_masks(cells, 'full')
    with pytest.raises(ValueError, match="'backend' must be .*'flex'.* 'sparse'"):
        attention_masks(cells, backend='sparse')
    with pytest.raises(ValueError, match="'rows'"):
        to_edge_index(cells, 'rows')


def masks_of(result, cells=None):
    cells = random_cells(num_contexts=2, num_cells=[3, 4]) if cells is None else cells
    return attention_masks(cells, {'own': lambda cells: result}, backend='edge_index')


def test_bad_masks():
    ids = torch.zeros(7, dtype=torch.long)
    with pytest.raises(TypeError, match=r"'own' must return an IdMask.*got list"):
        masks_of([0, 1])
    with pytest.raises(ValueError, match=r"'own' is over 5 cells \(got 7 in 'cells'"):
        masks_of(IdMask(ids[:5], ids[:5]))
    with pytest.raises(ValueError, match=r"'mask' is too small: 2 contexts of up to 4"):
        masks_of(torch.ones(2, 3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r'of shape \[B, S, S\] \(got \[4, 4\]\)'):
        masks_of(torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r'lie in \[0, 7\).*\(got 0 to 7\)'):
        masks_of(torch.tensor([[0], [7]]))
    with pytest.raises(ValueError, match=r'from cell 0 to cell 3, in contexts 0 and 1'):
        masks_of(torch.tensor([[1, 0], [1, 3]]))
    with pytest.raises(TypeError, match=r"'query' must be a tensor of integers .*floa"):
        IdMask(ids.float(), ids)
    with pytest.raises(ValueError, match=r"'key' must be of shape \[N\] or \[N, P\]"):
        IdMask(ids, ids.view(7, 1, 1))
    with pytest.raises(ValueError, match=r'of the same cells \(got \[7\] and \[6\]\)'):
        IdMask(ids, ids[1:])
    cells = random_cells(num_contexts=2, num_cells=3)
    cells.batch = cells.batch.flip(0)
    with pytest.raises(ValueError, match=r"'cells.batch' must be in ascending order"):
        attention_masks(cells)


def sibling_mask(cells):
    parents = row_parents(cells)[cells.row]
    return IdMask(parents, parents)


def test_mask_by_function():
    cells = random_cells(num_contexts=2, num_cells=[20, 15])
    links = cells.fkey_index.t().tolist()
    parents = {row: {j for i, j in links if i == row} for row in range(cells.num_rows)}
    row, batch = cells.row.tolist(), cells.batch.tolist()
    expected = {
        (j, i)
        for i in range(35)
        for j in range(35)
        if batch[i] == batch[j] and parents[row[i]] & parents[row[j]]
    }
    assert expected
    for backend in ('edge_index', 'dense', 'blocked', 'flex'):
        mask = attention_masks(cells, [sibling_mask], backend)['sibling_mask']
        if backend == 'edge_index':
            assert list(map(tuple, mask.t().tolist())) == sorted(
                expected, key=lambda edge: edge[::-1]
            )
            continue
        count = torch.zeros(35, dtype=torch.long)
        for _, i in expected:
            count[i] += 1
        assert mask.num_keys.tolist() == count.tolist()
        assert set(map(tuple, mask.to_edge_index().t().tolist())) == expected
    edge_index = to_edge_index(cells, sibling_mask)
    dense = attention_masks(cells, [sibling_mask], 'dense')['sibling_mask'].mask
    for result in (edge_index, dense):
        assert torch.equal(masks_of(result, cells)['own'], edge_index)


def test_auto():
    def kinds(cells):
        return {k: type(v).__name__ for k, v in attention_masks(cells).items()}

    assert set(kinds(random_cells(num_cells=100)).values()) == {'DenseMask'}
    cells = random_cells(num_cells=600, num_columns=40)
    expected = dict.fromkeys(FUNCTIONS, 'BlockedMask')
    assert kinds(cells) == {**expected, 'full': 'DenseMask'}
    assert attention_masks(cells)['full'].mask is None
    ragged = random_cells(2, num_cells=[600, 599], num_columns=40)
    assert kinds(ragged) == expected
    # Everybody's parent is the row that holds nearly all cells.
    cells.row = cells.row.clamp(max=5)
    assert kinds(cells)['feature'] == 'DenseMask'
