from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import CellData, load_database, to_hetero
from torch_geometric_rfm.loader import TemporalNeighborLoader
from torch_geometric_rfm.nn import (
    RelationalAttention,
    attention_masks,
    from_cell_graph,
    to_cell_graph,
)
from torch_geometric_rfm.testing import random_cells

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'
TABLES = ('a', 'b', 'c')


@st.composite
def hetero_graphs(draw):
    r"""Features, edges and contexts; the only channel numbers the cells."""
    x_dict, batch_dict, offset = {}, {}, 0
    num_contexts = draw(st.integers(1, 3))
    for name in TABLES[: draw(st.integers(1, 3))]:
        rows = draw(st.integers(0, 5))
        columns = draw(st.sampled_from([None, 0, 1, 2, 3]))
        size = (rows,) if columns is None else (rows, columns)
        count = rows if columns is None else rows * columns
        x_dict[name] = (torch.arange(count) + offset).view(*size, 1).double()
        offset += count
        batch = draw(st.lists(st.integers(0, num_contexts - 1), min_size=rows))
        batch_dict[name] = torch.tensor(batch[:rows], dtype=torch.long)

    edge_index_dict = {}
    for child, key, parent in product(x_dict, ('f2p_1', 'f2p_2'), x_dict):
        pairs = [
            (i, j)
            for i, j in product(range(len(x_dict[child])), range(len(x_dict[parent])))
            if batch_dict[child][i] == batch_dict[parent][j]
        ]
        if not pairs:
            continue
        for edge_type, order in (
            ((child, key, parent), 1),
            ((parent, f'rev_{key}', child), -1),
        ):
            if draw(st.booleans()):
                edges = draw(st.lists(st.sampled_from(pairs), max_size=5))
                edges = [edge[::order] for edge in edges]
                edge_index = torch.tensor(edges, dtype=torch.long).view(-1, 2).t()
                edge_index_dict[edge_type] = edge_index
    return x_dict, edge_index_dict, batch_dict


def parents_of_rows(edge_index_dict):
    links = set()
    for (source, key, target), edge_index in edge_index_dict.items():
        for i, j in edge_index.t().tolist():
            link = (source, i), (target, j)
            links.add(link[::-1] if key.startswith('rev_') else link)
    return links


def brute_force(x_dict, edge_index_dict, batch_dict):
    r"""For each mask the pairs of query and key, by the numbers of the cells."""
    cells = []
    for name, x in x_dict.items():
        for i, row in enumerate(x.view(len(x), x[:1].numel(), 1).tolist()):
            context = 0 if batch_dict is None else int(batch_dict[name][i])
            cells += [(c[0], (name, i), (name, j), context) for j, c in enumerate(row)]
    links = parents_of_rows(edge_index_dict)
    out = {name: set() for name in ('column', 'feature', 'neighbor', 'full')}
    for query, key in product(cells, cells):
        (i, row_i, column_i, context_i), (j, row_j, column_j, context_j) = query, key
        if context_i != context_j:
            continue
        out['full'].add((i, j))
        if column_i == column_j:
            out['column'].add((i, j))
        if row_i == row_j or (row_i, row_j) in links:
            out['feature'].add((i, j))
        if (row_j, row_i) in links:
            out['neighbor'].add((i, j))
    return out


def assert_equal_dicts(out, expected):
    assert list(out) == list(expected)
    for name, x in expected.items():
        assert torch.equal(out[name], x)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graph=hetero_graphs(), disjoint=st.booleans())
def test_random_graphs(graph, disjoint):
    x_dict, edge_index_dict, batch_dict = graph
    batch_dict = batch_dict if disjoint else None
    cells = to_cell_graph(x_dict, edge_index_dict, batch_dict)
    assert isinstance(cells, CellData)
    assert_equal_dicts(from_cell_graph(cells.x, cells), x_dict)

    assert cells.num_rows == sum(len(x) for x in x_dict.values())
    assert torch.equal(cells.batch, cells.batch.sort().values)
    assert torch.equal(cells.row, cells.row.sort().values)
    assert (
        cells.ptr.diff().tolist()
        == cells.batch.bincount(minlength=cells.num_contexts).tolist()
    )
    expected = brute_force(x_dict, edge_index_dict, batch_dict)
    number = cells.x[:, 0].tolist()
    for name, edges in attention_masks(cells, backend='edge_index').items():
        pairs = [(number[i], number[j]) for j, i in edges.t().tolist()]
        assert len(pairs) == len(expected[name])
        assert set(pairs) == expected[name]


def test_to_cell_graph():
    x_dict = {'a': torch.randn(3, 2, 4), 'b': torch.randn(2, 4)}
    edge_index_dict = {
        ('a', 'f2p_key', 'b'): torch.tensor([[0, 2], [1, 0]]),
        # The first repeats an edge from above, the second is new:
        ('b', 'rev_f2p_key', 'a'): torch.tensor([[1, 1], [0, 1]]),
    }
    batch_dict = {'a': torch.tensor([1, 1, 0]), 'b': torch.tensor([0, 1])}
    cells = to_cell_graph(x_dict, edge_index_dict, batch_dict)

    a, b = x_dict['a'], x_dict['b']
    assert torch.equal(cells.x, torch.cat([a[2], b[:1], a[0], a[1], b[1:]]))
    assert cells.batch.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert cells.ptr.tolist() == [0, 3, 8]
    assert cells.row.tolist() == [0, 0, 1, 2, 2, 3, 3, 4]
    assert cells.column.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert cells.row_table.tolist() == [0, 1, 0, 0, 1]
    assert cells.row_index.tolist() == [2, 0, 0, 1, 1]
    assert cells.seed_row.tolist() == [0, 2]
    assert cells.fkey_index.tolist() == [[0, 2, 3], [1, 4, 4]]
    assert cells.fkey_type.tolist() == [0, 0, 0]
    assert cells.table_names == ['a', 'b']
    assert cells.fkey_names == ['a.key']
    assert cells.column_names == ['column_0 of a', 'column_1 of a', 'column_0 of b']
    assert (cells.num_nodes, cells.num_rows, cells.num_contexts) == (8, 5, 2)

    one = to_cell_graph(x_dict, edge_index_dict)
    assert torch.equal(one.x, torch.cat([a.flatten(0, 1), b]))
    assert one.num_contexts == 1
    assert one.row_index.tolist() == [0, 1, 2, 0, 1]


def test_a_context_without_rows():
    x_dict = {'a': torch.randn(2, 3, 4)}
    cells = to_cell_graph(x_dict, {}, {'a': torch.tensor([0, 2])})
    assert cells.num_contexts == 3
    assert cells.seed_row.tolist() == [0, 1, 1]
    assert cells.ptr.tolist() == [0, 3, 3, 6]
    for mask in attention_masks(cells, ['column', 'feature', 'full']).values():
        assert mask.mask.any(dim=2).sum(dim=1).tolist() == [3, 0, 3]


def test_no_rows():
    x_dict = {'a': torch.randn(0, 3, 4), 'b': torch.randn(0, 4)}
    edge_index_dict = {('a', 'f2p_key', 'b'): torch.empty(2, 0, dtype=torch.long)}
    cells = to_cell_graph(x_dict, edge_index_dict)
    assert cells.x.size() == (0, 4)
    conv = RelationalAttention(4, heads=2)
    for mask in attention_masks(cells).values():
        out = from_cell_graph(conv(cells.x, mask), cells)
        assert out['a'].size() == (0, 3, 4)
        assert out['b'].size() == (0, 4)


def test_from_cell_graph_takes_other_shapes():
    x_dict = {'a': torch.randn(3, 2, 4), 'b': torch.randn(2, 4)}
    batch_dict = {'a': torch.tensor([1, 0, 1]), 'b': torch.tensor([1, 0])}
    cells = to_cell_graph(x_dict, {}, batch_dict)
    assert from_cell_graph(cells.x[:, 0], cells)['a'].equal(x_dict['a'][:, :, 0])
    out = from_cell_graph(torch.stack([cells.x, -cells.x], dim=1), cells)
    assert out['a'].equal(torch.stack([x_dict['a'], -x_dict['a']], dim=2))
    assert out['b'].equal(torch.stack([x_dict['b'], -x_dict['b']], dim=1))


def test_gradients():
    x_dict = {'a': torch.randn(3, 2, 4), 'b': torch.randn(2, 4)}
    x_dict = {name: x.requires_grad_() for name, x in x_dict.items()}
    edge_index_dict = {('a', 'f2p_key', 'b'): torch.tensor([[0, 1], [1, 0]])}
    batch_dict = {'a': torch.tensor([1, 0, 1]), 'b': torch.tensor([0, 1])}
    cells = to_cell_graph(x_dict, edge_index_dict, batch_dict)
    weight = {name: torch.randn_like(x) for name, x in x_dict.items()}
    out = from_cell_graph(cells.x, cells)
    sum((out[name] * weight[name]).sum() for name in out).backward()
    for name, x in x_dict.items():
        assert torch.equal(x.grad, weight[name])


def test_which_edges_are_foreign_keys():
    x_dict = {'paper': torch.randn(2, 1, 4), 'author': torch.randn(2, 1, 4)}
    writes = ('author', 'writes', 'paper')
    written = ('paper', 'rev_writes', 'author')
    edges = torch.tensor([[0], [1]])

    def links(edge_index_dict, fkey_types=None):
        cells = to_cell_graph(x_dict, edge_index_dict, fkey_types=fkey_types)
        return cells.fkey_names, cells.fkey_index.tolist()

    # Rows 0 and 1 are papers, 2 and 3 authors.
    assert links({writes: edges}) == (['author.writes'], [[2], [1]])
    assert links({written: edges}) == (['author.writes'], [[3], [0]])
    assert links({written: edges}, [writes]) == (['author.writes'], [[3], [0]])
    # A paper that refers to its authors:
    assert links({writes: edges}, [written]) == (['paper.rev_writes'], [[1], [2]])
    cites = ('paper', 'cites', 'paper')
    assert links({writes: edges, cites: edges}, [cites])[0] == ['paper.cites']
    assert links({writes: edges, cites: edges}, []) == ([], [[], []])
    # Edges that are no foreign keys may lead to types without features.
    assert links({('paper', 'in', 'venue'): edges, cites: edges}, [cites])[1]

    with pytest.raises(ValueError, match=r"'fkey_types' .* 'cite'.* known are: .*'wri"):
        links({writes: edges}, [('paper', 'cite', 'paper')])
    with pytest.raises(ValueError, match="both .*'writes'.* and its reverse"):
        links({writes: edges}, [writes, written])


@pytest.fixture(scope='module')
def rel_f1():
    data, _ = to_hetero(load_database(REL_F1))
    torch.manual_seed(0)
    for name in data.node_types:
        size = (data[name].num_nodes, data[name].tf.num_cols, 8)
        data[name].x = torch.randn(size, dtype=torch.float64)
    return data


@pytest.mark.parametrize('disjoint', [False, True])
def test_rel_f1(rel_f1, disjoint):
    time = torch.tensor([900_000_000, 1_100_000_000, 1_300_000_000])
    loader = TemporalNeighborLoader(
        rel_f1,
        num_neighbors=[4, 2, 2],
        input_nodes=('drivers', torch.tensor([0, 7, 13])),
        batch_size=3,
        **({'time_attr': 'time', 'input_time': time} if disjoint else {}),
    )
    batch = next(iter(loader))
    batch_dict = batch.batch_dict if disjoint else None
    cells = to_cell_graph(batch.x_dict, batch.edge_index_dict, batch_dict)
    assert cells.num_contexts == (3 if disjoint else 1)
    assert cells.num_nodes > 300
    assert_equal_dicts(from_cell_graph(cells.x, cells), batch.x_dict)

    # Both directions are needed: each is sampled where the other is absent.
    names, table, index = cells.table_names, cells.row_table, cells.row_index
    links = {
        tuple((names[table[row]], int(index[row])) for row in link)
        for link in cells.fkey_index.t().tolist()
    }
    assert links == parents_of_rows(batch.edge_index_dict)
    for prefix in ('f2p_', 'rev_f2p_'):
        half = {
            edge_type: edge_index
            for edge_type, edge_index in batch.edge_index_dict.items()
            if edge_type[1].startswith(prefix)
        }
        assert parents_of_rows(half) < links

    conv = RelationalAttention(8, heads=2).double()
    for name, mask in attention_masks(cells).items():
        out = from_cell_graph(conv(cells.x, mask), cells)
        assert {k: x.size() for k, x in out.items()} == {
            k: x.size() for k, x in batch.x_dict.items()
        }
        assert all(x.isfinite().all() for x in out.values()), name


def test_bad_arguments():
    x_dict = {'a': torch.randn(3, 2, 4), 'b': torch.randn(2, 4)}
    key = ('a', 'f2p_key', 'b')
    edges = torch.tensor([[0, 2], [1, 0]])
    batch_dict = {'a': torch.tensor([0, 0, 1]), 'b': torch.tensor([1, 0])}
    to_cell_graph(x_dict, {key: edges}, batch_dict)

    def bad(match, x_dict=x_dict, edges=edges, key=key, kind=ValueError, **batch):
        with pytest.raises(kind, match=match):
            to_cell_graph(x_dict, {key: edges}, batch_dict | batch if batch else None)

    bad(r"'x_dict' is empty", x_dict={})
    bad(r"'x_dict\['a'\]' must be .*\(got \[3\]\)", x_dict={'a': torch.randn(3)})
    bad(r"'x_dict\['a'\]' must be a Tensor \(got list\)", {'a': []}, kind=TypeError)
    other = torch.randn(2, 5)
    bad(r"channels .*'a' has 4, 'b' has 5.*project", x_dict={**x_dict, 'b': other})
    other = x_dict['b'].double()
    bad(r"dtype .*'b' has torch.float64", {**x_dict, 'b': other}, kind=TypeError)
    bad(r"'x_dict' lacks 'c'.*'f2p_key'.*got 'a', 'b'", key=('a', 'f2p_key', 'c'))

    bad(r'f2p_key.*\[2, E\].*\(got \[2\]\)', edges=edges[0])
    bad(r'f2p_key.*LongTensor .*float32', edges=edges.float(), kind=TypeError)
    bad(r"\[0, 3\), the number of rows of 'a' \(got 1 to 3\)", edges=edges + 1)
    swapped = edges.flip(0) - torch.tensor([[0], [1]])
    bad(r"\[0, 2\), the number of rows of 'b' \(got -1 to 1\)", edges=swapped)

    bad(r"'batch_dict\['b'\]' must hold .* 2 rows .*\[3\]", b=torch.tensor([1, 0, 0]))
    bad(r"'batch_dict\['b'\]' must .*-1", b=torch.tensor([-1, 0]))
    bad(r"'batch_dict\['b'\]' .*float32", b=torch.tensor([1.0, 0.0]), kind=TypeError)
    bad(r"'a'.*f2p_key.*context 0 .* context 1", b=torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"'batch_dict' lacks 'b' \(got 'a'\)"):
        to_cell_graph(x_dict, {key: edges}, {'a': batch_dict['a']})

    cells = to_cell_graph(x_dict, {key: edges}, batch_dict)
    with pytest.raises(ValueError, match=r"'x' must hold .* 8 cells \(got \[7, 4\]\)"):
        from_cell_graph(cells.x[:7], cells)
    with pytest.raises(ValueError, match="must come from 'to_cell_graph'"):
        from_cell_graph(torch.randn(32, 4), random_cells())
