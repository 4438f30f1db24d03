import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.data import Batch, HeteroData
from torch_geometric.nn import HeteroConv, Linear, SAGEConv

from torch_geometric_rfm.data import to_hetero
from torch_geometric_rfm.data.cell_data import concatenate
from torch_geometric_rfm.loader import ContextLoader, TemporalNeighborLoader
from torch_geometric_rfm.nn import (
    RelationalTransformer,
    RowEmbeddings,
    row_embeddings,
    row_mean,
    to_x_dict,
)
from torch_geometric_rfm.testing import random_cells, toy_database, toy_task_store


def small(seed=0):
    torch.manual_seed(seed)
    return RelationalTransformer.small(channels=16, zero_init=False).double()


def test_row_mean():
    cells = random_cells(num_contexts=3, num_cells=[20, 1, 40], seed=3)
    x = torch.randn(61, 5, dtype=torch.double, requires_grad=True)
    out = row_mean(x, cells)
    empty = 0
    for row in range(cells.num_rows):
        own = [x[i] for i in range(61) if cells.row[i] == row]
        empty += not own
        expected = torch.stack(own).mean(0) if own else torch.zeros(5)
        assert torch.allclose(out[row], expected.double(), atol=1e-12)
    assert empty > 0
    out.sum().backward()
    assert x.grad.sum(0) == pytest.approx([cells.num_rows - empty] * 5)
    with pytest.raises(ValueError, match=r'each of the 61 cells \(got shape \[3, 5\]'):
        row_mean(x[:3], cells)


def test_row_embeddings():
    cells = random_cells(num_contexts=4, num_cells=20, seed=1)
    x = torch.randn(80, 5)
    mean, tables = row_mean(x, cells), row_embeddings(x, cells)
    assert list(tables) == ['table_0', 'table_1', 'table_2']
    for i, (row, context, h) in enumerate(tables.values()):
        rows = [r for r in range(cells.num_rows) if cells.row_table[r] == i]
        assert row.tolist() == cells.row_index[rows].tolist()
        assert torch.equal(h, mean[rows])
        starts = cells.seed_row.tolist()
        expected = [max(b for b in range(4) if starts[b] <= r) for r in rows]
        assert context.tolist() == expected
    # Batches that name the tables of each context, of different databases.
    contexts = cells.to_data_list()
    contexts[2].table_names = ['table_1', 'other', 'table_0']
    both = row_embeddings(x, Batch.from_data_list(contexts))
    assert set(both) == {'table_0', 'table_1', 'table_2', 'other'}
    at = tables['table_0'].context == 2
    there = both['table_1'].context == 2
    assert torch.equal(both['table_1'].x[there], tables['table_0'].x[at])
    joined = concatenate([random_cells(2), random_cells(3)])
    joined.table_names[1] = ['others']
    with pytest.raises(ValueError, match='joins batches of 2 tasks'):
        row_embeddings(torch.randn(joined.num_nodes, 5), joined)


def test_to_x_dict_of_a_graph():
    data = HeteroData()
    data['a'].num_nodes, data['b'].num_nodes = 3, 2
    row, context = torch.tensor([2, 0, 2]), torch.tensor([0, 0, 1])
    x = torch.tensor([[1.0], [2.0], [5.0]])
    out = to_x_dict({'a': RowEmbeddings(row, context, x)}, data)
    assert out['a'].tolist() == [[2.0], [0.0], [3.0]]
    assert out['b'].tolist() == [[0.0], [0.0]]
    # A batch of a loader that is not disjoint.
    data['a'].n_id = torch.tensor([1, 2, 0])
    out = to_x_dict({'a': RowEmbeddings(row, context, x)}, data)
    assert out['a'].tolist() == [[0.0], [3.0], [2.0]]
    # And of one that is.
    data['a'].n_id = torch.tensor([2, 2, 0, 0])
    data['a'].num_nodes = 4
    data['a'].batch = torch.tensor([0, 1, 0, 1])
    out = to_x_dict({'a': RowEmbeddings(row, context, x)}, data)
    assert out['a'].tolist() == [[1.0], [5.0], [2.0], [0.0]]
    with pytest.raises(
        ValueError, match=r"node types .*\(got 'c', known are: 'a', 'b'"
    ):
        to_x_dict({'c': RowEmbeddings(row, context, x)}, data)


@pytest.fixture(scope='module')
def batch_and_cells():
    db = toy_database()
    store = toy_task_store(db=db)
    data, _ = to_hetero(db)
    rows = store.rows_of_split('train')[::9][:20]
    loader = TemporalNeighborLoader(
        data,
        [8, 8],
        ('customers', torch.from_numpy(store.arrays.entity[rows]) - 4),
        torch.from_numpy(store.arrays.time[rows]),
        time_attr='time',
        temporal_strategy='last',
        batch_size=20,
    )
    contexts = ContextLoader(store, input_nodes=rows, num_cells=100, batch_size=20)
    return next(iter(loader)), next(iter(contexts)), store


def test_to_x_dict_of_a_loader(batch_and_cells):
    batch, cells, store = batch_and_cells
    first = int(store.store.arrays.table_start[1])
    assert first == 4  # Customers come after the four shops.
    model = small()
    h = row_mean(model.encode(cells), cells)
    tables = model.encode_rows(cells)
    assert list(tables) == ['shops', 'customers', 'orders', 'customer-orders']
    x_dict = to_x_dict(tables, batch)
    found = 0
    for name, x in x_dict.items():
        table = store.table_names.index(name)
        assert x.size() == (batch[name].num_nodes, 16)
        for i in range(0, batch[name].num_nodes, 5):
            at = cells.row_table == table
            at &= cells.row_index == batch[name].n_id[i]
            at &= cells.row_context == batch[name].batch[i]
            assert int(at.sum()) <= 1
            found += int(at.sum())
            expected = h[at].sum(0)
            assert torch.allclose(x[i], expected, atol=1e-12)
    assert found > 20
    # All seeds are there.
    assert x_dict['customers'][:20].abs().sum(1).min() > 0


@pytest.mark.parametrize('kind', ['classification', 'regression', 'links'])
def test_in_a_gnn_of_the_user(batch_and_cells, kind):
    # What a user's own layers and losses make of the rows, trained end to end.
    batch, cells, store = batch_and_cells
    model = small().float()
    conv = HeteroConv({t: SAGEConv(16, 16) for t in batch.edge_types})
    head = Linear(16, 1)
    label = store.target[store.rows_of_split('train')[::9][:20]]
    parameters = [*model.parameters(), *conv.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    losses = []
    for _ in range(25):
        x_dict = to_x_dict(model.encode_rows(cells), batch)
        assert all(x.isfinite().all() for x in x_dict.values())
        out = conv(x_dict, batch.edge_index_dict)
        if kind == 'links':
            child, parent = batch['orders', 'f2p_customer_id', 'customers'].edge_index
            both = out['orders'][child] @ out['customers'].t()
            loss = torch.nn.functional.cross_entropy(both, parent)
        else:
            seeds = head(out['customers'][:20]).view(-1)
            if kind == 'regression':
                loss = torch.nn.functional.mse_loss(seeds, 3 * label + 1)
            else:
                loss = binary_cross_entropy_with_logits(seeds, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0], losses
    gradient = model.encoder.lins['column'].weight.grad
    assert gradient.abs().sum() > 0
