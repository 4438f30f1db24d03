import re

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler
from torch_frame import TensorFrame
from torch_geometric.data import Data, HeteroData
from torch_geometric.datasets import KarateClub
from torch_geometric.index import index2ptr
from torch_geometric.loader import NeighborLoader, NodeLoader
from torch_geometric.nn import GraphConv, to_hetero
from torch_geometric.sampler import BaseSampler
from torch_geometric.testing import (
    MyFeatureStore,
    MyGraphStore,
    get_random_edge_index,
    onlyLinux,
)
from torch_geometric.utils import (
    is_undirected,
    sort_edge_index,
    trim_to_layer,
)

from torch_geometric_rfm.data import to_hetero as database_to_hetero
from torch_geometric_rfm.loader import TemporalNeighborLoader
from torch_geometric_rfm.sampler import TemporalNeighborSampler
from torch_geometric_rfm.testing import toy_database

WORKERS = pytest.mark.filterwarnings(
    'ignore:This DataLoader will create:UserWarning',
    'ignore:.*fork.*:DeprecationWarning',
)
SUBGRAPH_TYPES = pytest.mark.parametrize(
    'subgraph_type', ['directional', 'bidirectional']
)
DTYPES = pytest.mark.parametrize('dtype', [torch.int64, torch.int32])
MISSING = torch.iinfo(torch.int64).min
PP, PA, AP = [(s, 'to', t) for s, t in ('pp', 'pa', 'ap')]
SAMPLED_INFO = torch.tensor(
    [[2, 3, 4, 5, 7, 7, 10, 11, 12, 13], [0, 1, 2, 3, 2, 3, 7, 7, 7, 7]]
)


class GNN(torch.nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv1 = GraphConv(in_channels, 16)
        self.conv2 = GraphConv(16, out_channels)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


def assert_edges_exist(batch_store, store, source_id, target_id):
    row, col = batch_store.edge_index
    index = torch.stack([source_id[row], target_id[col]])
    assert torch.equal(index, store.edge_index.long()[:, batch_store.e_id])


# Cases of PyG's test/loader/test_neighbor_loader.py, under their names #######


@SUBGRAPH_TYPES
@DTYPES
@pytest.mark.parametrize('filter_per_worker', [True, False])
def test_homo_neighbor_loader_basic(subgraph_type, dtype, filter_per_worker):
    torch.manual_seed(12345)
    data = Data(x=torch.arange(100), edge_attr=torch.arange(500))
    data.edge_index = get_random_edge_index(100, 100, 500, dtype)
    loader = TemporalNeighborLoader(
        data,
        num_neighbors=[5, 5],
        batch_size=20,
        subgraph_type=subgraph_type,
        filter_per_worker=filter_per_worker,
    )
    assert isinstance(loader, NodeLoader)
    assert isinstance(loader.node_sampler, BaseSampler)
    assert str(loader) == 'TemporalNeighborLoader()'
    assert len(loader) == 5
    batch = loader([0])
    assert isinstance(batch, Data)
    assert batch.n_id[:1].tolist() == [0]
    for i, batch in enumerate(loader):
        assert isinstance(batch, Data)
        assert batch.batch_size == 20
        assert batch.n_id.size() == (batch.num_nodes,)
        assert torch.equal(batch.x, batch.n_id)
        assert batch.n_id.unique().numel() == batch.num_nodes
        seeds = torch.arange(20 * i, 20 * (i + 1))
        assert torch.equal(batch.input_id, seeds)
        assert torch.equal(batch.x[:20], seeds)
        assert 'seed_time' not in batch
        assert 'batch' not in batch
        assert batch.edge_index.min() >= 0
        assert batch.edge_index.max() < batch.num_nodes
        assert not batch.has_isolated_nodes()
        if subgraph_type == 'directional':
            assert torch.equal(batch.edge_attr, batch.e_id)
            assert_edges_exist(batch, data, batch.n_id, batch.n_id)
            assert int(torch.bincount(batch.edge_index[1]).max()) <= 5
        else:
            assert is_undirected(batch.edge_index)


@SUBGRAPH_TYPES
@DTYPES
def test_hetero_neighbor_loader_basic(subgraph_type, dtype):
    torch.manual_seed(12345)
    data = HeteroData()
    data['p'].x = torch.arange(100)
    data['a'].x = torch.arange(100, 300)
    for first, (s, _, t), size in [(0, PP, 500), (500, PA, 1000), (1500, AP, 1000)]:
        num_nodes = (data[s].num_nodes, data[t].num_nodes)
        data[s, t].edge_index = get_random_edge_index(*num_nodes, size, dtype)
        data[s, t].edge_attr = torch.arange(first, first + size)
    kwargs = {'input_nodes': 'p', 'batch_size': 20, 'subgraph_type': subgraph_type}
    with pytest.raises(ValueError, match='hops must be the same across all'):
        TemporalNeighborLoader(
            data, num_neighbors={PP: [-1], PA: [-1, -1], AP: [-1, -1]}, **kwargs
        )
    loader = TemporalNeighborLoader(data, num_neighbors=[10, 10], **kwargs)
    assert str(loader) == 'TemporalNeighborLoader()'
    assert len(loader) == 5
    for batch in loader:
        assert isinstance(batch, HeteroData)
        assert set(batch.node_types) == {'p', 'a'}
        assert set(batch.edge_types) == {PP, PA, AP}
        assert batch['p'].batch_size == batch['p'].input_id.numel() == 20
        for name, first in (('p', 0), ('a', 100)):
            assert torch.equal(batch[name].x, batch[name].n_id + first)
        for s, _, t in (PP, PA, AP):
            row, col = batch[s, t].edge_index
            assert 0 <= row.min() <= row.max() < batch[s].num_nodes
            assert 0 <= col.min() <= col.max() < batch[t].num_nodes
            if subgraph_type == 'directional':
                index = batch[s, t].e_id
                assert torch.equal(batch[s, t].edge_attr, data[s, t].edge_attr[index])
                assert_edges_exist(
                    batch[s, t], data[s, t], batch[s].n_id, batch[t].n_id
                )
            else:
                assert 'e_id' not in batch[s, t]
                assert 'edge_attr' not in batch[s, t]
        if subgraph_type == 'bidirectional':
            assert is_undirected(batch[PP].edge_index)
            reverse = sort_edge_index(batch[AP].edge_index.flip([0]))
            assert torch.equal(sort_edge_index(batch[PA].edge_index), reverse)
        assert not batch.has_isolated_nodes()


@SUBGRAPH_TYPES
def test_homo_neighbor_loader_on_karate(subgraph_type):
    data = KarateClub()[0]
    nodes = torch.arange(5, 8)
    loader = TemporalNeighborLoader(
        data,
        num_neighbors=[-1, -1],
        batch_size=3,
        input_nodes=nodes,
        subgraph_type=subgraph_type,
    )
    assert len(loader) == 1
    batch = next(iter(loader))
    model = GNN(data.num_features, 4)
    full = model(data.x, data.edge_index)[nodes]
    part = model(batch.x, batch.edge_index)[: batch.batch_size]
    assert torch.allclose(full, part, atol=1e-6)


@SUBGRAPH_TYPES
def test_hetero_neighbor_loader_on_karate(subgraph_type):
    data = KarateClub()[0]
    hetero = HeteroData()
    hetero['v'].x = data.x
    hetero['v', 'v'].edge_index = data.edge_index
    nodes = torch.arange(5, 8)
    loader = TemporalNeighborLoader(
        hetero,
        num_neighbors=[-1, -1],
        batch_size=3,
        input_nodes=('v', nodes),
        subgraph_type=subgraph_type,
    )
    batch = next(iter(loader))
    model = GNN(data.num_features, 4)
    full = model(data.x, data.edge_index)[nodes]
    model = to_hetero(model, hetero.metadata())
    part = model(batch.x_dict, batch.edge_index_dict)['v'][: batch['v'].batch_size]
    assert torch.allclose(full, part, atol=1e-6)


def test_temporal_hetero_neighbor_loader_on_karate():
    karate = KarateClub()[0]
    data = HeteroData()
    data['v'].x = karate.x
    data['v'].time = torch.arange(karate.num_nodes, 0, -1)
    data['v', 'v'].edge_index = karate.edge_index
    loader = TemporalNeighborLoader(
        data, num_neighbors=[-1, -1], input_nodes='v', time_attr='time', batch_size=1
    )
    sizes = []
    for batch in loader:
        assert (batch['v'].time[0] >= batch['v'].time[1:]).all()
        assert torch.equal(batch['v'].seed_time, batch['v'].time[:1])
        assert batch['v'].batch.tolist() == [0] * batch['v'].num_nodes
        sizes.append(batch['v'].num_nodes)
    assert len(sizes) == 34
    assert max(sizes) > 10


def custom_graph():
    torch.manual_seed(12345)
    feature_store, graph_store, data = MyFeatureStore(), MyGraphStore(), HeteroData()
    for name, x in (('p', torch.arange(100)), ('a', torch.arange(100, 300))):
        data[name].x = x
        feature_store.put_tensor(x, group_name=name, attr_name='x', index=None)
    edge_index = get_random_edge_index(100, 100, 500)
    data[PP].edge_index = edge_index
    stored = [(PP, 'coo', tuple(edge_index), (100, 100))]
    row, col = sort_edge_index(get_random_edge_index(100, 200, 1000))
    data[PA].edge_index = torch.stack([row, col])
    stored += [(PA, 'csr', (index2ptr(row, 100), col), (100, 200))]
    col, row = sort_edge_index(get_random_edge_index(100, 200, 1000))
    data[AP].edge_index = torch.stack([row, col])
    stored += [(AP, 'csc', (row, index2ptr(col, 100)), (200, 100))]
    for edge_type, layout, pair, size in stored:
        graph_store.put_edge_index(
            edge_index=pair, edge_type=edge_type, layout=layout, size=size
        )
    return feature_store, graph_store, data


def test_custom_neighbor_loader():
    feature_store, graph_store, data = custom_graph()
    kwargs = {'num_neighbors': [-1, -1], 'batch_size': 20}
    inside = TemporalNeighborLoader(data, input_nodes=('p', range(100)), **kwargs)
    for remote in ((feature_store, graph_store), (data, data)):
        outside = TemporalNeighborLoader(remote, input_nodes='p', **kwargs)
        assert str(outside) == str(inside)
        assert len(outside) == len(inside)
        for batch1, batch2 in zip(inside, outside, strict=True):
            assert batch1['p'].batch_size == batch2['p'].batch_size
            for name in ('p', 'a'):
                x1, x2 = batch1[name].x, batch2[name].x
                assert torch.equal(x1.sort()[0], x2.sort()[0])
            for edge_type in (PP, PA, AP):
                size = batch1[edge_type].edge_index.size()
                assert batch2[edge_type].edge_index.size() == size


def test_temporal_custom_neighbor_loader_on_karate():
    data = KarateClub()[0]
    feature_store, graph_store, hetero = MyFeatureStore(), MyGraphStore(), HeteroData()
    hetero['v'].x = data.x
    hetero['v'].time = torch.arange(data.num_nodes, 0, -1)
    hetero['v', 'v'].edge_index = data.edge_index
    for key, value in hetero['v'].items():
        feature_store.put_tensor(value, group_name='v', attr_name=key, index=None)
    graph_store.put_edge_index(
        data.edge_index, edge_type=('v', 'to', 'v'), layout='coo', size=(34, 34)
    )
    kwargs = {'num_neighbors': [-1, -1], 'input_nodes': 'v', 'time_attr': 'time'}
    kwargs['batch_size'] = 10
    inside = TemporalNeighborLoader(hetero, **kwargs)
    outside = TemporalNeighborLoader((feature_store, graph_store), **kwargs)
    for batch1, batch2 in zip(inside, outside, strict=True):
        assert torch.equal(batch1['v'].time, batch2['v'].time)
        assert torch.equal(batch1['v'].seed_time, batch2['v'].seed_time)


@onlyLinux
@WORKERS
def test_memmap_neighbor_loader(tmp_path):
    path = tmp_path / 'x.npy'
    x = np.memmap(path, dtype=np.float32, mode='w+', shape=(100, 32))
    x[:] = np.random.default_rng(0).normal(size=(100, 32))
    data = Data(edge_index=get_random_edge_index(100, 100, 500))
    data.x = np.memmap(path, dtype=np.float32, mode='r', shape=(100, 32))
    loader = TemporalNeighborLoader(data, [5, 5], batch_size=20, num_workers=2)
    batch = next(iter(loader))
    assert isinstance(batch.x, torch.Tensor)
    assert torch.equal(batch.x, torch.from_numpy(x[batch.n_id.numpy()]))


def test_homo_neighbor_loader_sampled_info():
    data = Data(edge_index=SAMPLED_INFO, num_nodes=14)
    batch = next(iter(TemporalNeighborLoader(data, [1, 2, 4], batch_size=2)))
    assert batch.num_sampled_nodes == [2, 2, 3, 4]
    assert batch.num_sampled_edges == [2, 4, 4]


def test_hetero_neighbor_loader_sampled_info():
    data = HeteroData()
    data['p'].num_nodes = data['a'].num_nodes = 14
    for edge_type in (PP, PA, AP):
        data[edge_type].edge_index = SAMPLED_INFO
    loader = TemporalNeighborLoader(data, [1, 2, 4], input_nodes='p', batch_size=2)
    batch = next(iter(loader))
    assert batch['p'].num_sampled_nodes == [2, 2, 3, 4]
    assert batch['a'].num_sampled_nodes == [0, 2, 3, 4]
    assert batch[PP].num_sampled_edges == [2, 4, 4]
    assert batch[PA].num_sampled_edges == [0, 4, 4]
    assert batch[AP].num_sampled_edges == [2, 4, 4]


def test_neighbor_loader_mapping():
    edge_index = torch.tensor([[0, 0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 3, 4, 5]])
    data = Data(edge_index=edge_index, num_nodes=6)
    loader = TemporalNeighborLoader(
        data, num_neighbors=[1], input_nodes=torch.tensor([3, 4, 5]), batch_size=2
    )
    for batch in loader:
        assert_edges_exist(batch, data, batch.n_id, batch.n_id)
        assert batch.num_edges == batch.batch_size


@pytest.mark.parametrize('hetero', [False, True])
def test_edge_level_temporal_homo_neighbor_loader(hetero):
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]])
    edge_time = torch.arange(8)
    data = Data(edge_index=edge_index, edge_time=edge_time, num_nodes=5)
    nodes = torch.tensor([2, 2])
    if hetero:
        data = HeteroData()
        data['v'].num_nodes = 5
        data['v', 'v'].edge_index = edge_index
        data['v', 'v'].edge_time = edge_time
        nodes = ('v', nodes)
    loader = TemporalNeighborLoader(
        data,
        num_neighbors=[-1, -1],
        input_nodes=nodes,
        input_time=torch.tensor([2, 6]),
        time_attr='edge_time',
        batch_size=2,
    )
    store = next(iter(loader))
    if hetero:
        store, times = store['v'], store['v', 'v']
    else:
        times = store
    inside = store.batch[times.edge_index[1]]
    assert (times.edge_time <= store.seed_time[inside]).all()
    assert sorted(times.edge_time[inside == 0].tolist()) == [0, 2]
    assert sorted(times.edge_time[inside == 1].tolist()) == [0, 2, 3, 4, 5]


def test_edge_level_temporal_hetero_neighbor_loader():
    data = HeteroData()
    data['p'].num_nodes, data['a'].num_nodes = 2, 3
    data[AP].edge_index = torch.tensor([[0, 1, 2], [0, 0, 0]])
    data[AP].time = torch.tensor([3, 1, 2])
    data[PA].edge_index = torch.tensor([[1, 1, 1], [0, 1, 2]])  # Always admitted.
    loader = TemporalNeighborLoader(
        data,
        num_neighbors=[2, 2],
        input_nodes=('p', torch.tensor([0, 0, 0])),
        input_time=torch.tensor([0, 1, 9]),
        time_attr='time',
        temporal_strategy='last',
        batch_size=3,
    )
    batch = next(iter(loader))
    assert batch[AP].time.tolist() == [1, 2, 3]
    assert batch['a'].batch.tolist() == [1, 2, 2]
    assert batch[PA].num_edges == 3


# What is ours ################################################################


def toy_graph():
    return database_to_hetero(toy_database())[0]


def toy_kwargs(data, **kwargs):
    time = data['orders'].time
    out = {
        'num_neighbors': [3, 2],
        'input_nodes': ('customers', torch.arange(40) % 30),
        'input_time': time.sort()[0][torch.arange(160, 200)],
        'time_attr': 'time',
        'batch_size': 8,
    }
    return {**out, **kwargs}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for store1, store2 in zip(first.stores, second.stores, strict=True):
        for key, value in store1.items():
            if isinstance(value, TensorFrame):
                assert value == store2[key]
            elif torch.is_tensor(value):
                assert torch.equal(value, store2[key]), key
            else:
                assert value == store2[key], key


@WORKERS
@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_batches_do_not_depend_on_workers(num_workers):
    data = toy_graph()
    kwargs = toy_kwargs(data, shuffle=True, seed=7)
    alone = TemporalNeighborLoader(data, **kwargs)
    together = TemporalNeighborLoader(data, num_workers=num_workers, **kwargs)
    epochs = []
    for _ in range(2):
        batches = list(alone)
        for first, second in zip(batches, together, strict=True):
            assert_equal(first, second)
        epochs.append(torch.cat([batch['customers'].input_id for batch in batches]))
    assert not torch.equal(*epochs)
    assert torch.equal(epochs[0].sort()[0], epochs[1].sort()[0])


@WORKERS
def test_persistent_workers_go_through_the_epochs():
    data = toy_graph()
    kwargs = toy_kwargs(data, filter_per_worker=False)
    alone = TemporalNeighborLoader(data, **kwargs)
    kept = TemporalNeighborLoader(
        data, num_workers=1, persistent_workers=True, **kwargs
    )
    for _ in range(2):
        for first, second in zip(alone, kept, strict=True):
            assert_equal(first, second)


def test_seed_and_epoch_determine_order_and_draws():
    data = toy_graph()

    def epoch(loader):
        batches = list(loader)
        nodes = [batch['orders'].n_id for batch in batches]
        return torch.cat(nodes).tolist(), [b['customers'].input_id for b in batches]

    kwargs = toy_kwargs(data, shuffle=True)
    loader = TemporalNeighborLoader(data, **kwargs)
    first, second = epoch(loader)[0], epoch(loader)[0]
    assert first != second
    torch.manual_seed(1)
    again = TemporalNeighborLoader(data, **kwargs)
    again.set_epoch(1)
    assert epoch(again)[0] == second
    again.set_epoch(0)
    assert epoch(again)[0] == first
    assert epoch(TemporalNeighborLoader(data, seed=1, **kwargs))[0] != first
    # The subgraph of an input is the same wherever the order puts it.
    plain = TemporalNeighborLoader(data, **{**kwargs, 'shuffle': False})
    orders = {}
    for loader in (again, plain):
        loader.set_epoch(3)
        for batch in loader:
            for b, i in enumerate(batch['customers'].input_id.tolist()):
                nodes = batch['orders'].n_id[batch['orders'].batch == b].tolist()
                assert orders.setdefault(i, nodes) == nodes
    assert len(orders) == 40


def test_samplers_of_the_user():
    data = toy_graph()
    kwargs = toy_kwargs(data)
    plain = TemporalNeighborLoader(data, **kwargs)
    ordered = TemporalNeighborLoader(
        data, sampler=SequentialSampler(range(40)), **kwargs
    )
    kwargs.pop('batch_size')
    batches = BatchSampler(SequentialSampler(range(40)), 8, drop_last=False)
    batched = TemporalNeighborLoader(data, batch_sampler=batches, **kwargs)
    assert len(plain) == len(ordered) == len(batched) == 5
    for _ in range(2):  # They go through the epochs, too.
        for triple in zip(plain, ordered, batched, strict=True):
            assert_equal(triple[0], triple[1])
            assert_equal(triple[0], triple[2])
    with pytest.raises(ValueError, match='shuffle=True excludes a sampler'):
        TemporalNeighborLoader(
            data, sampler=SequentialSampler(range(40)), shuffle=True, **kwargs
        )


def test_batches_of_a_database():
    data = toy_graph()
    kwargs = toy_kwargs(data, temporal_strategy='last')
    loader = TemporalNeighborLoader(data, **kwargs)
    for i, batch in enumerate(loader):
        seeds = torch.arange(8 * i, 8 * (i + 1))
        assert torch.equal(batch['customers'].input_id, seeds)
        assert torch.equal(batch['customers'].seed_time, kwargs['input_time'][seeds])
        assert torch.equal(batch['customers'].n_id[:8], seeds % 30)
        assert batch['customers'].batch[:8].tolist() == list(range(8))
        for name in data.node_types:
            assert batch[name].tf == data[name].tf[batch[name].n_id]
            assert len(batch[name].num_sampled_nodes) == 3
            if 'time' in data[name]:
                until = batch['customers'].seed_time[batch[name].batch]
                assert (batch[name].time <= until).all()
        for s, r, t in data.edge_types:
            row, col = batch[s, r, t].edge_index
            assert torch.equal(batch[s].batch[row], batch[t].batch[col])
            assert_edges_exist(
                batch[s, r, t], data[s, r, t], batch[s].n_id, batch[t].n_id
            )


def test_transforms():
    data = toy_graph()

    def transform(batch):
        batch['customers'].y = batch['customers'].input_id * 2
        return batch

    def transform_sampler_output(out):
        out.metadata = (out.metadata[0] + 100, out.metadata[1])
        return out

    loader = TemporalNeighborLoader(
        data,
        transform=transform,
        transform_sampler_output=transform_sampler_output,
        **toy_kwargs(data),
    )
    assert next(iter(loader))['customers'].y.tolist() == list(range(200, 216, 2))


def test_masks_and_shared_samplers():
    data = toy_graph()
    mask = torch.zeros(30, dtype=torch.bool)
    mask[[3, 8, 20]] = True
    sampler = TemporalNeighborSampler(data, [2], time_attr='time')
    for nodes in (mask, mask.numpy(), torch.tensor([3, 8, 20]), [3, 8, 20]):
        loader = TemporalNeighborLoader(
            data,
            None,
            ('customers', nodes),
            torch.full((3,), 2**40),
            neighbor_sampler=sampler,
            batch_size=3,
        )
        batch = next(iter(loader))
        assert batch['customers'].n_id[:3].tolist() == [3, 8, 20]
        is_mask = isinstance(nodes, (torch.Tensor, np.ndarray)) and len(nodes) == 30
        assert batch['customers'].input_id.tolist() == (
            [3, 8, 20] if is_mask else [0, 1, 2]
        )


def test_times_before_1970_equal_and_missing():
    data = HeteroData()
    data['u'].num_nodes = 2
    data['e'].num_nodes = 6
    data['e'].time = torch.tensor([-50, -50, -49, MISSING, MISSING // 10**9, -51])
    data['e', 'u'].edge_index = torch.tensor([[0, 1, 2, 3, 4, 5], [0] * 6])
    loader = TemporalNeighborLoader(
        data,
        [-1],
        ('u', torch.tensor([0, 0, 0])),
        torch.tensor([-50, -52, 2**62]),
        time_attr='time',
        batch_size=3,
    )
    batch = next(iter(loader))
    nodes = [batch['e'].n_id[batch['e'].batch == b].tolist() for b in range(3)]
    assert nodes == [[5, 0, 1], [], [5, 0, 1, 2]]


def test_trimming_to_layers():
    data = KarateClub()[0]
    batch = next(
        iter(TemporalNeighborLoader(data, [4, 4], batch_size=5, disjoint=True))
    )
    model = GNN(data.num_features, 4)
    expected = model(batch.x, batch.edge_index)[:5]
    x, edge_index = batch.x, batch.edge_index
    for layer, conv in enumerate((model.conv1, model.conv2)):
        x, edge_index, _ = trim_to_layer(
            layer, batch.num_sampled_nodes, batch.num_sampled_edges, x, edge_index
        )
        x = conv(x, edge_index)
        x = x.relu() if layer == 0 else x
    assert torch.allclose(x[:5], expected, atol=1e-6)


def test_pyg_cannot_sample_these():
    data = toy_graph()
    loader = TemporalNeighborLoader(data, **toy_kwargs(data))
    assert next(iter(loader))['orders'].num_nodes > 0
    with pytest.warns(UserWarning, match='pyg-lib'):
        loader = NeighborLoader(data, **toy_kwargs(data))
    with pytest.raises(ImportError, match='pyg-lib'):
        next(iter(loader))


FKEY = ('orders', 'f2p_customer_id', 'customers')
HALF = torch.zeros(20, dtype=torch.long)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'num_neighbors': {('a', 'b', 'c'): [1]}}, 'that the graph lacks (got [('),
        ({'num_neighbors': {FKEY: [1]}}, 'leaves out edge types (got none for ['),
        (
            {'num_neighbors': [3, -2]},
            'at least -1, which takes all (got -2 in [3, -2])',
        ),
        ({'num_neighbors': [2.5]}, 'got 2.5 in [2.5]'),
        ({'num_neighbors': 16}, 'must be a list with one number a hop'),
        ({'input_nodes': None}, 'a node type of the graph, or a tuple of it and nodes'),
        ({'input_nodes': 'nothing'}, "(got 'nothing', known are: 'shops', 'customers'"),
        ({'input_nodes': ('customers', torch.tensor([30]))}, 'must lie in [0, 30)'),
        ({'input_nodes': ('customers', torch.tensor([1.5]))}, 'vector of integers'),
        ({'input_nodes': ('customers', HALF.bool())}, 'must be a mask of 30 nodes'),
        (
            {'input_nodes': 'shops', 'input_time': None},
            "node type 'shops' has no 'time'",
        ),
        ({'input_time': HALF}, 'one time for each of the 40 input_nodes (got [20])'),
        ({'input_time': torch.zeros(40)}, 'input_time must be a vector of integers'),
        ({'input_time': torch.full((40,), MISSING)}, 'is missing for 40 of 40'),
        ({'time_attr': None}, 'input_time is given, and time_attr is not'),
        ({'time_attr': 'tine'}, "has the attribute 'tine' (got time_attr='tine')"),
        ({'temporal_strategy': 'first'}, "must be 'uniform' or 'last' (got 'first')"),
        ({'subgraph_type': 'tree'}, "'directional' or 'bidirectional' (got 'tree')"),
        ({'neighbor_sampler': object()}, 'must be a TemporalNeighborSampler'),
    ],
)
def test_bad_input_is_named(kwargs, message):
    data = toy_graph()
    with pytest.raises(ValueError, match=re.escape(message)):
        TemporalNeighborLoader(data, **toy_kwargs(data, **kwargs))


def test_what_is_not_supported_is_named():
    data = toy_graph()
    with pytest.raises(NotImplementedError, match="subgraph_type 'induced'"):
        TemporalNeighborLoader(data, **toy_kwargs(data, subgraph_type='induced'))
    with pytest.raises(NotImplementedError, match='weight_attr'):
        TemporalNeighborLoader(data, **toy_kwargs(data, weight_attr='w'))
    with pytest.raises(ValueError, match="'last' needs times"):
        TemporalNeighborLoader(data, [1], 'shops', temporal_strategy='last')
    with pytest.raises(ValueError, match=r'data must be a Data.*got int'):
        TemporalNeighborLoader(3, [1], 'shops')


def test_bad_graphs_are_named():
    data = toy_graph()
    data['orders'].time = data['orders'].time[:-1]
    with pytest.raises(ValueError, match=r"'time' of node type 'orders'.*got \[199\]"):
        TemporalNeighborLoader(data, **toy_kwargs(toy_graph()))
    data['orders'].time = torch.zeros(200)
    with pytest.raises(ValueError, match=r'must hold integers.*got float32'):
        TemporalNeighborLoader(data, **toy_kwargs(toy_graph()))
    data['orders'].time = torch.zeros(200, dtype=torch.long)
    data[FKEY].time = torch.zeros(200, dtype=torch.long)
    with pytest.raises(ValueError, match='of both nodes and edges'):
        TemporalNeighborLoader(data, **toy_kwargs(toy_graph()))
    data = toy_graph()
    data[FKEY].edge_index = torch.tensor([[0], [30]])
    with pytest.raises(ValueError, match=r"outside node type 'customers' \(got 30"):
        TemporalNeighborLoader(data, **toy_kwargs(toy_graph()))
    del data[FKEY].edge_index
    with pytest.raises(ValueError, match='has no edge_index'):
        TemporalNeighborLoader(data, **toy_kwargs(toy_graph()))


def test_seeds_later_than_their_time_are_named():
    data = toy_graph()
    time = data['orders'].time
    kwargs = {'num_neighbors': [1], 'input_nodes': 'orders', 'time_attr': 'time'}
    TemporalNeighborLoader(data, input_time=time, **kwargs)
    early = time.clone()
    early[[5, 9]] -= 1
    with pytest.raises(ValueError, match=r'2 input_nodes are later.*first is node 5'):
        TemporalNeighborLoader(data, input_time=early, **kwargs)
    data['orders'].time[17] = MISSING
    with pytest.raises(
        ValueError, match=r"'time' of 1 input_nodes is missing.*node 17"
    ):
        TemporalNeighborLoader(data, **kwargs)
    with pytest.raises(ValueError, match=r'1 input_nodes are later.*first is node 17'):
        TemporalNeighborLoader(data, input_time=time.clamp(min=0), **kwargs)
