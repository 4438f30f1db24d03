from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import NodeSamplerInput, NumNeighbors, SamplerOutput
from torch_geometric.testing import MyFeatureStore, MyGraphStore

from torch_geometric_rfm.sampler import TemporalNeighborSampler

FEW = settings(derandomize=True, deadline=None, max_examples=80, database=None)
MISSING = torch.iinfo(torch.int64).min
WORKS, LEADS = ('person', 'works_with', 'person'), ('person', 'leads', 'person')


def seeds(node, time=None, kind=None, input_id=None):
    time = None if time is None else torch.tensor(time)
    input_id = None if input_id is None else torch.tensor(input_id)
    return NodeSamplerInput(input_id, torch.tensor(node), time, kind)


def people(data_type, hetero):
    r"""Alice works with Bob and leads Carol, who works with Dave."""
    x = torch.arange(4).view(-1, 1)
    edges = {None: torch.tensor([[0, 0, 2], [1, 2, 3]])}
    if hetero:
        edges = {WORKS: torch.tensor([[0, 2], [1, 3]]), LEADS: torch.tensor([[0], [2]])}
    if data_type == 'remote':
        feature_store, graph_store = MyFeatureStore(), MyGraphStore()
        feature_store.put_tensor(x, group_name='person', attr_name='x', index=None)
        for edge_type, edge_index in edges.items():
            graph_store.put_edge_index(
                edge_index, edge_type=edge_type, layout='coo', size=(4, 4)
            )
        return feature_store, graph_store
    if not hetero:
        return Data(x=x, edge_index=edges[None])
    data = HeteroData({'person': {'x': x}})
    for edge_type, edge_index in edges.items():
        data[edge_type].edge_index = edge_index
    return data


@pytest.mark.parametrize('input_type', ['data', 'remote'])
def test_homogeneous_neighbor_sampler_basic(input_type):
    sampler = TemporalNeighborSampler(people(input_type, hetero=False), [1])
    out = sampler.sample_from_nodes(seeds([1]))
    expected = SamplerOutput(
        node=torch.tensor([1, 0]),
        row=torch.tensor([1]),
        col=torch.tensor([0]),
        edge=torch.tensor([0]),
        num_sampled_nodes=[1, 1],
        num_sampled_edges=[1],
        metadata=(None, None),
    )
    assert str(out) == str(expected)
    out = sampler.sample_from_nodes(seeds([0]))
    assert out.node.tolist() == [0]
    assert out.row.numel() == out.col.numel() == out.edge.numel() == 0
    assert out.num_sampled_nodes == [1, 0]
    assert out.num_sampled_edges == [0]
    assert out.batch is None


@pytest.mark.parametrize('input_type', ['data', 'remote'])
def test_heterogeneous_neighbor_sampler_basic(input_type):
    sampler = TemporalNeighborSampler(people(input_type, hetero=True), [1])
    out = sampler.sample_from_nodes(seeds([1], kind='person'))
    assert out.node['person'].tolist() == [1, 0]
    assert out.row[WORKS].tolist() == [1]
    assert out.col[WORKS].tolist() == [0]
    assert out.edge[WORKS].tolist() == [0]
    for part in (out.row, out.col, out.edge):
        assert part[LEADS].numel() == 0
    out = sampler.sample_from_nodes(seeds([0], kind='person'))
    assert out.node['person'].tolist() == [0]
    assert all(edge.numel() == 0 for edge in out.edge.values())
    assert out.num_sampled_edges == {WORKS: [0], LEADS: [0]}


def random_graph(seed):
    r"""A heterogeneous graph with hubs, multi-edges and self-loops, in which types
    may be undated, empty of edges, and times equal, missing or before 1970.
    """
    rng = np.random.default_rng(seed)
    data = HeteroData()
    names = ['a', 'b', 'c'][: rng.integers(1, 4)]
    dated = [name for name in names if rng.random() < 0.7] or names[:1]
    for name in names:
        size = int(rng.integers(1, 15))
        data[name].num_nodes = size
        if name in dated:
            data[name].time = torch.from_numpy(rng.integers(-6, 6, size))
            missing = rng.random(size) < rng.choice([0.0, 0.2])
            kind = rng.choice([MISSING, MISSING // 1_000_000_000])
            data[name].time[torch.from_numpy(missing)] = int(kind)
    for k in range(rng.integers(1, 5)):
        source, target = rng.choice(names), rng.choice(names)
        size = int(rng.integers(0, 60))
        skew = rng.choice([1, 4])
        row = rng.integers(0, data[source].num_nodes, size)
        col = (data[target].num_nodes * rng.random(size) ** skew).astype(np.int64)
        data[source, f'rel_{k}', target].edge_index = torch.from_numpy(
            np.stack([row, col])
        )
    return data, rng


def random_seeds(data, rng, num_seeds=5):
    name = rng.choice(data.node_types)
    node = torch.from_numpy(rng.integers(0, data[name].num_nodes, num_seeds))
    time = torch.from_numpy(rng.integers(-8, 8, num_seeds))
    if 'time' in data[name]:
        own = data[name].time[node]
        keep = own > -100
        node, own, time = node[keep], own[keep], time[keep]
        time = torch.maximum(time, own)
    return NodeSamplerInput(torch.arange(len(node)) + 40, node, time, name)


def admitted(data, edge_type, node, until):
    r"""Edges that lead to a node from where it is known, the earliest first."""
    row, col = data[edge_type].edge_index.numpy()
    time = data[edge_type[0]].get('time')
    edges = [
        e
        for e in np.flatnonzero(col == node)
        if time is None or -100 < time[row[e]] <= until
    ]
    return edges if time is None else sorted(edges, key=lambda e: (time[row[e]], e))


def assert_is_a_sample(data, inputs, out, limits, last, replace):
    r"""Redoes each subgraph by hand: which edges each hop had to choose from."""
    num_hops = len(next(iter(limits.values())))
    for b, (seed, until) in enumerate(
        zip(inputs.node.tolist(), inputs.time.tolist(), strict=True)
    ):
        taken = Counter()
        for edge_type in data.edge_types:
            source, _, target = edge_type
            inside = out.batch[target][out.col[edge_type]] == b
            assert torch.equal(inside, out.batch[source][out.row[edge_type]] == b)
            edges = out.edge[edge_type][inside]
            row, col = data[edge_type].edge_index[:, edges]
            assert torch.equal(row, out.node[source][out.row[edge_type][inside]])
            assert torch.equal(col, out.node[target][out.col[edge_type][inside]])
            taken.update((edge_type, e) for e in edges.tolist())
        frontier = {(inputs.input_type, seed)}
        visited, expected = set(frontier), Counter()
        for hop in range(num_hops):
            found = set()
            for name, node in frontier:
                for edge_type in data.edge_types:
                    if edge_type[2] != name:
                        continue
                    choice = admitted(data, edge_type, node, until)
                    limit = limits[edge_type][hop]
                    if last and limit >= 0 and 'time' in data[edge_type[0]]:
                        choice = choice[max(0, len(choice) - limit) :]
                    count = len(choice)
                    if limit >= 0:
                        count = min(limit, count) if not replace else limit
                    count = count if choice else 0
                    edges = [e for e in choice if (edge_type, e) in taken]
                    times = [taken[edge_type, e] for e in edges]
                    assert sum(times) == count
                    assert replace or max(times, default=1) == 1
                    expected.update(
                        {(edge_type, e): taken[edge_type, e] for e in edges}
                    )
                    row = data[edge_type].edge_index[0]
                    found |= {(edge_type[0], int(row[e])) for e in edges}
            frontier = found - visited
            visited |= found
        assert +taken == +expected
        sampled = [
            (name, node)
            for name in data.node_types
            for node in out.node[name][out.batch[name] == b].tolist()
        ]
        assert len(sampled) == len(visited)
        assert set(sampled) == visited


cases = st.fixed_dictionaries(
    {
        'temporal_strategy': st.sampled_from(['uniform', 'last']),
        'replace': st.booleans(),
    }
)


@FEW
@given(st.integers(0, 10_000), cases)
def test_sample_against_brute_force(seed, kwargs):
    data, rng = random_graph(seed)
    num_hops = int(rng.integers(1, 4))
    limits = {
        edge_type: rng.choice([-1, 0, 1, 2, 5], num_hops).tolist()
        for edge_type in data.edge_types
    }
    inputs = random_seeds(data, rng)
    sampler = TemporalNeighborSampler(data, limits, time_attr='time', **kwargs)
    out = sampler.sample_from_nodes(inputs, epoch=seed % 3)
    last = kwargs['temporal_strategy'] == 'last'
    assert_is_a_sample(data, inputs, out, limits, last, kwargs['replace'])
    for name in data.node_types:
        assert sum(out.num_sampled_nodes[name]) == out.node[name].numel()
    for edge_type in data.edge_types:
        assert sum(out.num_sampled_edges[edge_type]) == out.edge[edge_type].numel()
    num_seeds = len(inputs.node)
    assert torch.equal(out.node[inputs.input_type][:num_seeds], inputs.node)
    assert out.metadata[0] is inputs.input_id
    assert torch.equal(out.metadata[1], inputs.time)


@FEW
@given(st.integers(0, 10_000), cases)
def test_no_node_is_later_than_its_seed(seed, kwargs):
    data, rng = random_graph(seed)
    inputs = random_seeds(data, rng)
    sampler = TemporalNeighborSampler(data, [3, -1, 2], time_attr='time', **kwargs)
    out = sampler.sample_from_nodes(inputs)
    for name in data.node_types:
        if 'time' in data[name]:
            time = data[name].time[out.node[name]]
            assert (time <= inputs.time[out.batch[name]]).all()
            assert (time > -100).all()


@settings(FEW, max_examples=30)
@given(st.integers(0, 10_000), st.booleans())
def test_a_subgraph_does_not_depend_on_its_batch(seed, timed):
    data, rng = random_graph(seed)
    inputs = random_seeds(data, rng)
    inputs.time = inputs.time if timed else None
    time_attr = 'time' if timed else None
    sampler = TemporalNeighborSampler(
        data, [2, 2], disjoint=True, time_attr=time_attr, seed=seed
    )
    together = sampler.sample_from_nodes(inputs, epoch=2)
    for b in range(len(inputs.node)):
        alone = sampler.sample_from_nodes(inputs[[b]], epoch=2)
        for name in data.node_types:
            inside = together.batch[name] == b
            assert torch.equal(together.node[name][inside], alone.node[name])
        for edge_type in data.edge_types:
            inside = together.batch[edge_type[2]][together.col[edge_type]] == b
            assert torch.equal(together.edge[edge_type][inside], alone.edge[edge_type])


@settings(FEW, max_examples=40)
@given(st.integers(0, 10_000))
def test_all_neighbors_of_a_batch_that_is_not_disjoint(seed):
    data, rng = random_graph(seed)
    inputs = random_seeds(data, rng)
    inputs.time = None
    out = TemporalNeighborSampler(data, [-1, -1]).sample_from_nodes(inputs)
    assert out.batch is None
    visited = {name: set() for name in data.node_types}
    visited[inputs.input_type] = set(inputs.node.tolist())
    for _ in range(2):
        edges = {}
        for edge_type in data.edge_types:
            row, col = data[edge_type].edge_index.tolist()
            edges[edge_type] = {
                e for e in range(len(row)) if col[e] in visited[edge_type[2]]
            }
        for edge_type, chosen in edges.items():
            row = data[edge_type].edge_index[0].tolist()
            visited[edge_type[0]] |= {row[e] for e in chosen}
    for edge_type in data.edge_types:
        assert set(out.edge[edge_type].tolist()) == edges[edge_type]
    for name in data.node_types:
        nodes = out.node[name].tolist()
        assert set(nodes) == visited[name]
        if name != inputs.input_type:
            assert len(nodes) == len(set(nodes))
    # Equal seeds keep a place each, and edges lead from the first of them.
    assert torch.equal(out.node[inputs.input_type][: len(inputs.node)], inputs.node)


def star(num_leaves, time=None):
    edge_index = torch.stack(
        [torch.arange(1, num_leaves + 1), torch.zeros(num_leaves, dtype=torch.long)]
    )
    return Data(edge_index=edge_index, num_nodes=num_leaves + 1, time=time)


def chi_squared(observed, expected):
    return float(((observed - expected) ** 2 / expected).sum())


@pytest.mark.parametrize('replace', [False, True])
def test_draws_are_uniform(replace):
    num_leaves, known, num_seeds = 20, 12, 6_000
    time = torch.arange(num_leaves + 1)
    time[0] = 0
    sampler = TemporalNeighborSampler(
        star(num_leaves, time), [4], replace=replace, time_attr='time'
    )
    inputs = NodeSamplerInput(
        torch.arange(num_seeds),
        torch.zeros(num_seeds, dtype=torch.long),
        torch.full((num_seeds,), known),
    )
    out = sampler.sample_from_nodes(inputs)
    leaves = out.edge.view(num_seeds, 4) + 1
    count = torch.bincount(leaves.view(-1), minlength=num_leaves + 1).double()
    assert count[0] == 0
    assert count[known + 1 :].sum() == 0
    # 11 degrees of freedom: 31.3 is exceeded once in a thousand.
    expected = num_seeds * 4 / known
    assert chi_squared(count[1 : known + 1], expected) < 31.3
    # So is the first draw of each, and pairs are not more alike than chance.
    first = torch.bincount(leaves[:, 0], minlength=known + 1)[1 : known + 1].double()
    assert chi_squared(first, num_seeds / known) < 31.3
    if replace:
        equal = (leaves[:, 0] == leaves[:, 1]).double().mean()
        assert abs(float(equal) - 1 / known) < 0.015
    else:
        assert all(len(set(row)) == 4 for row in leaves.tolist())
        pairs = torch.zeros(known + 1, known + 1).double()
        for i, j in [(0, 1), (0, 2), (1, 3)]:
            low = torch.minimum(leaves[:, i], leaves[:, j])
            high = torch.maximum(leaves[:, i], leaves[:, j])
            pairs.index_put_((low, high), torch.ones(num_seeds).double(), True)
        upper = pairs[torch.ones_like(pairs).triu(1).bool()].view(-1)
        upper = pairs[1:, 1:][torch.ones(known, known).triu(1).bool()]
        # 65 degrees of freedom: 105 is exceeded once in a thousand.
        assert chi_squared(upper, num_seeds * 3 / len(upper)) < 105


def test_epochs_and_seeds_give_other_draws():
    data = star(50)
    inputs = seeds([0], input_id=[3])

    def draw(epoch, seed=0, disjoint=False):
        sampler = TemporalNeighborSampler(data, [5], disjoint=disjoint, seed=seed)
        return sampler.sample_from_nodes(inputs, epoch=epoch).node.tolist()

    for disjoint in (False, True):
        assert draw(0, 0, disjoint) == draw(0, 0, disjoint)
        assert draw(0, 0, disjoint) != draw(1, 0, disjoint)
        assert draw(0, 0, disjoint) != draw(0, 1, disjoint)
    both = TemporalNeighborSampler(data, [5], disjoint=True).sample_from_nodes(
        seeds([0, 0], input_id=[3, 4])
    )
    assert both.node[both.batch == 0].tolist() != both.node[both.batch == 1].tolist()


def test_last_takes_exactly_the_latest():
    time = torch.tensor([7, 3, 9, 7, 7, -2, 5, MISSING, 1, 8])
    sampler = TemporalNeighborSampler(
        star(9, time), [3], time_attr='time', temporal_strategy='last'
    )
    out = sampler.sample_from_nodes(seeds([0, 0], time=[7, 100]))
    assert out.node[out.batch == 0].tolist() == [0, 6, 3, 4]
    assert out.node[out.batch == 1].tolist() == [0, 4, 9, 2]
    assert out.num_sampled_nodes == [2, 6]
    sampler = TemporalNeighborSampler(
        star(9, time), [-1], time_attr='time', temporal_strategy='last'
    )
    out = sampler.sample_from_nodes(seeds([0]))
    assert out.node.tolist() == [0, 5, 8, 1, 6, 3, 4]
    assert out.metadata[1].tolist() == [7]
    # Even at the end of time, what has no time is not admitted.
    latest = torch.iinfo(torch.int64).max
    out = sampler.sample_from_nodes(seeds([0], time=[latest]))
    assert 7 not in out.node.tolist()
    assert out.node.numel() == 9


def test_hubs_cost_what_is_taken():
    num_leaves = 300_000
    time = torch.arange(num_leaves + 1)
    sampler = TemporalNeighborSampler(star(num_leaves, time), [3, 3], time_attr='time')
    out = sampler.sample_from_nodes(seeds([0] * 50, time=[num_leaves] * 50))
    assert out.node.numel() == 200
    assert out.node.untyped_storage().nbytes() < 10_000
    assert len(set(out.node.tolist())) > 100


def test_many_draws_of_a_large_neighborhood():
    sampler = TemporalNeighborSampler(star(3_000), [2_999])
    out = sampler.sample_from_nodes(seeds([0]))
    assert len(set(out.node.tolist())) == 3_000


def test_edge_times():
    edge_index = torch.tensor([[1, 2, 3, 1], [0, 0, 0, 0]])
    data = Data(edge_index=edge_index, num_nodes=4)
    data.edge_time = torch.tensor([5, 2, MISSING, 1])
    sampler = TemporalNeighborSampler(
        data, [2], time_attr='edge_time', temporal_strategy='last'
    )
    out = sampler.sample_from_nodes(seeds([0, 0, 0], time=[1, 4, 9]))
    assert [out.edge[out.batch[out.col] == b].tolist() for b in range(3)] == [
        [3],
        [3, 1],
        [1, 0],
    ]
    with pytest.raises(ValueError, match=r"the graph has no 'edge_time'"):
        sampler.sample_from_nodes(seeds([0]))


def test_num_neighbors_in_all_its_forms():
    data = people('data', hetero=True)
    forms = [
        {WORKS: [2, 1], LEADS: [0, -1]},
        {'person__works_with__person': [2, 1], LEADS: (0, -1)},
        NumNeighbors({WORKS: [2, 1]}, default=[0, -1]),
    ]
    for form in forms:
        sampler = TemporalNeighborSampler(data, form)
        assert sampler.num_neighbors.tolist() == [[2, 1], [0, -1]]
    sampler = TemporalNeighborSampler(data, [3])
    assert sampler.num_neighbors.tolist() == [[3], [3]]
    out = TemporalNeighborSampler(data, []).sample_from_nodes(seeds([1], kind='person'))
    assert out.node['person'].tolist() == [1]
    assert out.num_sampled_nodes == {'person': [1]}
    empty = Data(num_nodes=3, edge_index=torch.zeros(2, 0, dtype=torch.long))
    out = TemporalNeighborSampler(empty, [2, 2]).sample_from_nodes(seeds([1]))
    assert out.num_sampled_nodes == [1, 0, 0]
    assert out.num_sampled_edges == [0, 0]


def test_sampling_from_edges_is_not_supported():
    sampler = TemporalNeighborSampler(people('data', hetero=False), [1])
    with pytest.raises(NotImplementedError, match='sampling from edges'):
        sampler.sample_from_edges(None)


def test_indices_of_64_bits_give_the_same():
    data, rng = random_graph(3)
    inputs = random_seeds(data, rng)
    sampler = TemporalNeighborSampler(data, [2, 2], time_attr='time')
    first = sampler.sample_from_nodes(inputs)
    wide = {
        key: value.astype(np.int64)
        for key, value in sampler._index._asdict().items()
        if value.dtype == np.int32
    }
    assert set(wide) == {'ptr', 'neighbor', 'edge_id', 'time_at'}
    sampler._index = sampler._index._replace(**wide)
    second = sampler.sample_from_nodes(inputs)
    assert first.num_sampled_edges == second.num_sampled_edges
    for edge_type in data.edge_types:
        assert torch.equal(first.edge[edge_type], second.edge[edge_type])
