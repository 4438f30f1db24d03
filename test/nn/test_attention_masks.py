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
    for name, function in FUNCTIONS.items():
        expected = brute_force(cells, name)
        mask = function(cells)
        assert mask.dtype == torch.bool
        assert mask.size() == (len(sizes), max(sizes), max(sizes))
        assert pairs_of_dense(cells, mask) == expected
        found = [(i, j) for j, i in edges[name].t().tolist()]
        assert len(found) == len(expected)
        assert set(found) == expected


def test_direction_of_links():
    cells = random_cells(num_cells=3)
    cells.row = torch.tensor([0, 1, 2])
    cells.row_time = torch.zeros(3, dtype=torch.long)
    # Row 0 refers to row 1 (twice) and row 2 to row 0.
    cells.fkey_index = torch.tensor([[0, 0, 2], [1, 1, 0]])
    assert feature_mask(cells)[0].tolist() == [
        [True, True, False],
        [False, True, False],
        [True, False, True],
    ]
    assert neighbor_mask(cells)[0].tolist() == [
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
        assert torch.equal(mask.mask, FUNCTIONS[name](cells))

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
    assert masks['column'].mask.tolist() == [[[True]]]
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
        return pair_mask(cells, table, table)

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
    with pytest.raises(ValueError, match="'backend' must be .* 'flex'"):
        attention_masks(cells, backend='flex')
