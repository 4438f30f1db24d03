from collections import Counter
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from relbench.base import Database, Table

from torch_geometric_rfm.data import CellStore, HashingTextEncoder, to_hetero
from torch_geometric_rfm.sampler import (
    ContextSampler,
    LocalNeighborhood,
    OwnLabels,
    RandomLabels,
    RecentLabels,
)
from torch_geometric_rfm.testing import toy_task_store

ENCODER = HashingTextEncoder(channels=4)
DAY = 86_400


def store_of(tables, **kwargs):
    data, col_stats = to_hetero(Database(tables))
    return CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cache_dir=False, **kwargs
    )


def child_table(size, key='hub_id', times=None, parents=None, **columns):
    parents = np.zeros(size, dtype=np.int64) if parents is None else parents
    frame = pd.DataFrame({'id': np.arange(size), key: parents, **columns})
    frame['x'] = np.arange(size, dtype=np.float64)
    if times is not None:
        frame['time'] = pd.to_datetime(np.asarray(times) * DAY, unit='s')
    time_col = None if times is None else 'time'
    return Table(frame, {key: 'hub'}, pkey_col='id', time_col=time_col)


def hub(size=1):
    return Table(pd.DataFrame({'hub_id': np.arange(size)}), {}, pkey_col='hub_id')


def local(store, num_cells=256, num_neighbors=16, strategy='last', **kwargs):
    policies = [LocalNeighborhood(num_neighbors, strategy)]
    return ContextSampler(store, policies, num_cells, **kwargs)


def sample(sampler, rows, until=1000 * DAY, epoch=0):
    rows = np.asarray(rows)
    time = np.full(len(rows), until)
    return sampler.sample(rows, time, time, np.arange(len(rows)), epoch)


def drawn(cells):
    r"""The rows of each context in order, seed apart, as (table, row)."""
    out = []
    starts = [*cells.seed_row.tolist(), cells.num_rows]
    for first, last in zip(starts[:-1], starts[1:]):
        table = cells.row_table[first + 1 : last].tolist()
        index = cells.row_index[first + 1 : last].tolist()
        out.append(tuple((cells.table_names[t], i) for t, i in zip(table, index)))
    return out


def eager_probabilities(sizes, limit, num_drawn):
    r"""Probability of each sequence of children, if every group first draws its
    children without replacement, and all that were drawn are then shuffled.
    """
    slots = [
        (group, i) for group, size in sizes.items() for i in range(min(size, limit))
    ]
    out = Counter()
    orders = list(permutations(slots, num_drawn))
    for order in orders:
        counts = Counter(group for group, _ in order)
        choices = [()]
        for group, _ in order:
            choices = [
                (*choice, (group, child))
                for choice in choices
                for child in range(sizes[group])
                if (group, child) not in choice
            ]
        assert sum(counts.values()) == num_drawn
        for choice in choices:
            out[choice] += 1 / (len(orders) * len(choices))
    return out


@pytest.mark.parametrize('over', ['inputs', 'epochs'])
def test_lazy_draws_have_the_frequencies_of_eager_ones(over):
    # Children are in time order and partly unknown at the time asked about.
    store = store_of(
        {
            'hub': hub(),
            'a': child_table(6, times=[3, 1, 2, 0, 800, 900]),
            'b': child_table(2),
        }
    )
    kwargs = {'num_cells': 6, 'num_neighbors': 2, 'strategy': 'uniform'}
    sampler = local(store, **kwargs)
    num_draws = 20_000
    if over == 'inputs':
        cells = sample(sampler, np.zeros(num_draws, dtype=np.int64), 500 * DAY)
    else:
        zeros, time = np.zeros(num_draws, dtype=np.int64), np.full(num_draws, 500 * DAY)
        cells = sampler.sample(zeros, time, time, zeros, epoch=np.arange(num_draws))
    # Rows of 'a' have two cells, those of 'b' one: three draws are always made.
    counts = Counter(row[:3] for row in drawn(cells))
    expected = eager_probabilities({'a': 4, 'b': 2}, limit=2, num_drawn=3)
    assert set(counts) == set(expected)
    chi2 = sum(
        (counts[key] - num_draws * p) ** 2 / (num_draws * p)
        for key, p in expected.items()
    )
    freedom = len(expected) - 1
    assert chi2 < freedom + 4 * (2 * freedom) ** 0.5
    # The test has power: a draw with replacement would be far off.
    skewed = sum(
        (counts[key] - num_draws * p) ** 2 / (num_draws * p)
        for key, p in zip(
            expected, np.linspace(0.5, 1.5, len(expected)) / len(expected)
        )
    )
    assert skewed > freedom + 10 * (2 * freedom) ** 0.5


def test_uniform_draws_differ_between_inputs_epochs_and_seeds():
    store = store_of({'hub': hub(), 'a': child_table(1000)})
    kwargs = {'num_cells': 10, 'strategy': 'uniform'}
    sampler = local(store, **kwargs)
    first, second = drawn(sample(sampler, [0, 0]))
    assert first != second
    assert drawn(sample(sampler, [0, 0])) == [first, second]
    assert drawn(sample(sampler, [0], epoch=1)) != [first]
    other = local(store, seed=1, **kwargs)
    assert drawn(sample(other, [0])) != [first]


def test_last_draws_the_latest_known_children_of_each_key_in_turn():
    times = [5, 9, 1, 7, 3, 30]
    store = store_of(
        {
            'hub': hub(),
            'a': child_table(6, times=times),
            'b': child_table(2, times=[2, 8]),
        }
    )
    sampler = local(store, num_cells=100, num_neighbors=3)
    (rows,) = drawn(sample(sampler, [0], 10 * DAY))
    assert rows == (('a', 1), ('b', 1), ('a', 3), ('b', 0), ('a', 0))
    (rows,) = drawn(sample(sampler, [0], 9 * DAY))
    assert rows[0] == ('a', 1)
    strict = local(store, num_cells=100, num_neighbors=3, strict=True)
    (rows,) = drawn(sample(strict, [0], 9 * DAY))
    assert rows[0] == ('a', 3)
    (rows,) = drawn(sample(sampler, [0], 0))
    assert rows == ()


def test_children_lie_in_time_order():
    rng = np.random.default_rng(0)
    table = child_table(
        50, times=rng.integers(0, 20, 50), parents=rng.integers(0, 4, 50)
    )
    arrays = store_of({'hub': hub(4), 'a': table}).arrays
    for parent in range(4):
        first, last = arrays.child_ptr[parent : parent + 2]
        rows = arrays.child_row[first:last] - 4
        assert (table.df['hub_id'].to_numpy()[rows] == parent).all()
        assert table.df['time'].iloc[rows].is_monotonic_increasing
        assert (np.diff(table.df['time'].iloc[rows]) >= np.timedelta64(0)).all()
    assert arrays.child_ptr[-1] == 50


def test_parents_always_come_and_shallow_children_first():
    frame = pd.DataFrame({'id': np.arange(4), 'up': [np.nan, 0, 1, 2], 'x': 1.0})
    chain = Table(frame, {'up': 'chain'}, pkey_col='id')
    store = store_of({'chain': chain})
    # From the deepest row all ancestors come, whatever the number of children is.
    sampler = local(store, num_cells=10, num_neighbors=0)
    assert drawn(sample(sampler, [3])) == [(('chain', 2), ('chain', 1), ('chain', 0))]
    sampler = local(store, num_cells=3, num_neighbors=-1)
    assert drawn(sample(sampler, [0])) == [(('chain', 1), ('chain', 2))]
    links = sample(sampler, [0]).fkey_index
    assert links.tolist() == [[1, 2], [0, 1]]


@pytest.mark.parametrize('strategy', ['last', 'uniform'])
def test_num_neighbors(strategy):
    store = store_of({'hub': hub(), 'a': child_table(40), 'b': child_table(40)})

    def counts(num_neighbors):
        sampler = local(store, 200, num_neighbors, strategy)
        (rows,) = drawn(sample(sampler, [0]))
        assert len(set(rows)) == len(rows)
        return Counter(table for table, _ in rows)

    assert counts(16) == {'a': 16, 'b': 16}
    assert counts(0) == {}
    assert counts(-1) == {'a': 40, 'b': 40}
    assert counts({'a.hub_id': 3}) == {'a': 3, 'b': 16}
    assert counts({'a.hub_id': 0, 'b.hub_id': -1}) == {'b': 40}
    edge_types = {('a', 'f2p_hub_id', 'hub'): 2, ('b', 'rev_f2p_hub_id', 'hub'): 1}
    assert counts(edge_types) == {'a': 2, 'b': 1}


def test_num_cells_cuts_within_a_row():
    columns = {f'c{i}': np.arange(5.0) for i in range(4)}
    store = store_of({'hub': hub(), 'a': child_table(5, **columns)})
    for num_cells in (2, 7, 13, 25):
        cells = sample(local(store, num_cells), [0, 0])
        assert cells.ptr.tolist() == [0, num_cells, 2 * num_cells]


def labels_of(store, rows, *policies, num_cells=42, num_neighbors=50, seed=0):
    r"""Of each context the rows of the task table but for the seed, and the cells."""
    time = store.arrays.time[rows]
    policies = [LocalNeighborhood(num_neighbors), *policies]
    sampler = ContextSampler(store, policies, num_cells, seed=seed)
    cells = sampler.sample(rows, time, time, rows)
    labels = [
        [row for table, row in context if table == store.task.name]
        for context in drawn(cells)
    ]
    return labels, cells


def known_labels(store, row):
    r"""Rows of the task table known at the time of a row, the latest first."""
    frame = store.task.frame
    known = frame['time'] + store.task.horizon <= frame['time'].iloc[row]
    known &= frame['label'].notna()
    return frame[known].sort_values('time', ascending=False, kind='stable')


def test_own_labels_are_the_latest_known_ones():
    store = toy_task_store()
    rows = store.rows_of_split('test')
    labels, cells = labels_of(store, rows, OwnLabels(0.25))
    entity = store.arrays.entity
    for row, taken in zip(rows, labels):
        known = known_labels(store, row)
        own = known[known['entity'] == store.task.frame['entity'].iloc[row]]
        assert taken == own.index[: len(taken)].tolist()
        assert len(taken) >= min(5, len(own))
    assert max(map(len, labels)) >= 5
    assert (cells.ptr.diff() <= 42).all()
    assert len({int(entity[row]) for row in rows}) > 5


def test_own_labels_fill_what_the_database_leaves():
    store = toy_task_store()
    row = store.rows_of_split('test')[-1:]
    arguments = {'num_cells': 200, 'num_neighbors': 0}
    (none,), _ = labels_of(store, row, **arguments)
    assert none == []
    (filled,), _ = labels_of(store, row, OwnLabels(0.0), **arguments)
    known = known_labels(store, row[0])
    own = known[known['entity'] == store.task.frame['entity'].iloc[row[0]]]
    assert sorted(filled) == sorted(own.index)


def test_recent_labels_come_with_their_entities():
    store = toy_task_store()
    rows = store.rows_of_split('test')
    # A row of a customer has two cells and its shop one: the share of 20 cells
    # holds between four and ten examples, as entities come once.
    labels, cells = labels_of(store, rows, RecentLabels(0.5))
    frame = store.task.frame
    for row, taken, context in zip(rows, labels, drawn(cells)):
        assert taken == sorted(set(taken), key=taken.index)
        times = frame['time'].iloc[taken]
        assert times.is_monotonic_decreasing
        known = known_labels(store, row)
        assert times.tolist() == known['time'].iloc[: len(taken)].tolist()
        assert 4 <= len(taken) <= 10
        customers = {index for table, index in context if table == 'customers'}
        time = frame['time'].iloc[row]
        for entity in frame['entity'].iloc[taken]:
            joined = store.store.arrays.row_time[store.arrays.first_entity + entity]
            assert (entity in customers) == (joined <= int(time.timestamp()))


def test_random_labels_are_known_and_uniform():
    store = toy_task_store()
    row = store.rows_of_split('test')[-1:]
    known = set(known_labels(store, row[0]).index)
    time = store.arrays.time[row]
    policies = [LocalNeighborhood(0), RandomLabels(0.5)]
    sampler = ContextSampler(store, policies, num_cells=22)
    num_draws = 6000
    rows, times = np.repeat(row, num_draws), np.repeat(time, num_draws)
    cells = sampler.sample(rows, times, times, np.arange(num_draws))
    counts = Counter()
    for context in drawn(cells):
        taken = [index for table, index in context if table == store.task.name]
        assert len(set(taken)) == len(taken)
        counts.update(taken)
    assert set(counts) == known
    # First draws are uniform; repeats of an entity are cheaper, not likelier.
    first = Counter(
        next(i for table, i in context if table == store.task.name)
        for context in drawn(cells)
    )
    expected = num_draws / len(known)
    chi2 = sum((first[k] - expected) ** 2 / expected for k in known)
    assert chi2 < len(known) + 4 * (2 * len(known)) ** 0.5


def test_policies_share_the_cells_and_repeat_no_label():
    store = toy_task_store()
    rows = store.rows_of_split('test')
    policies = [OwnLabels(0.25), RecentLabels(0.25), RandomLabels(0.25)]
    labels, cells = labels_of(store, rows, *policies)
    for taken in labels:
        assert len(set(taken)) == len(taken)
    again, _ = labels_of(store, rows, *policies)
    assert labels == again
    other, _ = labels_of(store, rows, *policies, seed=1)
    assert labels != other
    assert (cells.ptr.diff() <= 42).all()


@pytest.mark.parametrize('num_threads', [2, 3, 7])
def test_contexts_do_not_depend_on_threads(num_threads):
    store = toy_task_store()
    rows = store.rows_of_split('test')
    time = store.arrays.time[rows]
    policies = [LocalNeighborhood(3, 'uniform'), OwnLabels(0.1), RandomLabels(0.2)]
    for count in (1, 5, len(rows)):
        arguments = rows[:count], time[:count], time[:count], rows[:count]
        alone = ContextSampler(store, policies, 42).sample(*arguments)
        sampler = ContextSampler(store, policies, 42, num_threads=num_threads)
        for together in (sampler.sample(*arguments), sampler.sample(*arguments)):
            assert set(alone.keys()) == set(together.keys())
            for key, value in alone.to_dict().items():
                if torch.is_tensor(value):
                    assert torch.equal(
                        value.nan_to_num(7.0), together[key].nan_to_num(7.0)
                    ), key


def test_an_entity_of_the_future_is_a_context_of_its_label_alone():
    store = toy_task_store()
    row = store.rows_of_split('train')[:1]
    early = np.array([0])
    cells = ContextSampler(store).sample(row, early, early, row)
    assert cells.num_rows == 1
    assert cells.mask.tolist() == [True, False]
    assert cells.fkey_index.size() == (2, 0)


def test_errors():
    store = toy_task_store()
    with pytest.raises(ValueError, match=r'num_cells must be at least 2.*\(got 1\)'):
        ContextSampler(store, num_cells=1)
    with pytest.raises(ValueError, match="'last' or 'uniform' \\(got 'first'\\)"):
        LocalNeighborhood(temporal_strategy='first')
    with pytest.raises(ValueError, match=r'OwnLabels must lie in \[0, 1\] \(got 2\)'):
        OwnLabels(2)
    with pytest.raises(ValueError, match=r'RecentLabels must lie in .*got -0.1'):
        RecentLabels(-0.1)
    neighborhood = LocalNeighborhood()
    with pytest.raises(ValueError, match=r'OwnLabels 0.6 \+ RecentLabels 0.6 > 1'):
        ContextSampler(store, [neighborhood, OwnLabels(0.6), RecentLabels(0.6)])
    with pytest.raises(ValueError, match='must be one LocalNeighborhood'):
        ContextSampler(store, [OwnLabels(0.6)])
    with pytest.raises(ValueError, match='must be one LocalNeighborhood'):
        ContextSampler(store, [neighborhood, neighborhood])
    with pytest.raises(ValueError, match=r"unknown foreign keys \(got \['a.b'\]"):
        ContextSampler(store, [LocalNeighborhood({'a.b': 1})])
    with pytest.raises(ValueError, match=r"unknown foreign keys \(got \['a.b'\]"):
        ContextSampler(store, [LocalNeighborhood({('a', 'f2p_b', 'c'): 1})])
    with pytest.raises(ValueError, match=r'0 \(none\) or positive \(got -2\)'):
        ContextSampler(store, [LocalNeighborhood(-2)])
    with pytest.raises(ValueError, match=r'num_threads must be positive \(got 0\)'):
        ContextSampler(store, num_threads=0)


def test_repr():
    store = toy_task_store()
    assert repr(ContextSampler(store)) == f'ContextSampler({store})'
    assert repr(ContextSampler(store.store)) == f'ContextSampler({store.store})'
