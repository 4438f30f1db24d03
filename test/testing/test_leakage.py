r"""The checks bite: each rule switched off in turn is reported."""

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.data import CellStore, HashingTextEncoder, to_hetero
from torch_geometric_rfm.data.store_arrays import ALWAYS
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import find_violations, toy_database, toy_task
from torch_geometric_rfm.testing.database import VAL_TIMESTAMP

ENCODER = HashingTextEncoder(channels=4)


def build(db, cutoff):
    data, col_stats = to_hetero(db, cutoff=cutoff)
    return CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cutoff=cutoff, cache_dir=False
    )


def sample_all(store, protocol, **kwargs):
    rows = np.arange(len(store.task.frame))
    until = store.visible_until(rows, protocol)
    sampler = ContextLoader(store, input_nodes=rows, **kwargs).context_sampler
    return sampler.sample(rows, store.arrays.time[rows], until, rows)


@pytest.fixture
def toy():
    db = toy_database()
    task = toy_task(db, 'regression')
    task.hidden_columns = [('orders', 'status')]
    return db, task, build(db, VAL_TIMESTAMP).with_task(task)


def with_arrays(store, **changes):
    store.store.arrays = store.store.arrays._replace(**changes)
    return store


def rules_broken(db, task, store, protocol='rolling', strict=False, **kwargs):
    kwargs = {'num_cells': 60, 'own_labels': 0.15, 'recent_labels': 0.2, **kwargs}
    cells = sample_all(store, protocol, **kwargs)
    violations = find_violations(
        cells,
        db,
        task,
        protocol,
        strict=strict,
        num_cells=60,
        cutoff=VAL_TIMESTAMP,
        text_encoder=ENCODER,
    )
    return {violation.split(':')[0].split(" '")[0] for violation in violations}


def times_without(store, table):
    first, last = store.store.arrays.table_start[
        store.store.table_names.index(table) :
    ][:2]
    time = store.store.arrays.row_time.copy()
    time[first:last] = ALWAYS
    return time


def test_nothing_is_found_where_nothing_is_wrong(toy):
    for protocol in ('rolling', 'frozen'):
        assert rules_broken(*toy, protocol) == set()


def test_unchecked_children_are_found(toy):
    db, task, store = toy
    store = with_arrays(store, row_time=times_without(store, 'orders'))
    assert 'future row' in rules_broken(db, task, store)


def test_unchecked_parents_are_found():
    # Customers of the shop of a customer reach it as children; orders reach
    # customers as parents, here of a later date than themselves.
    db = toy_database()
    customers = db.table_dict['customers'].df
    orders = db.table_dict['orders']
    orders.df.loc[:, 'second_id'] = np.roll(orders.df['customer_id'].to_numpy(), 50)
    orders.fkey_col_to_pkey_table['second_id'] = 'customers'
    customers.loc[20:, 'joined'] = pd.Timestamp('2021-12-01')
    task = toy_task(db)
    store = build(db, VAL_TIMESTAMP).with_task(task)
    num_neighbors = {'customers.shop_id': 0}
    assert rules_broken(db, task, store, num_neighbors=num_neighbors) == set()
    store = with_arrays(store, row_time=times_without(store, 'customers'))
    broken = rules_broken(db, task, store, num_neighbors=num_neighbors)
    assert 'future row' in broken


def test_rows_without_a_time_in_a_dated_table_are_found():
    db = toy_database()
    db.table_dict['orders'].df.loc[50:150, 'date'] = pd.NaT
    task = toy_task(db)
    store = build(db, VAL_TIMESTAMP).with_task(task)
    assert rules_broken(db, task, store) == set()
    time = store.store.arrays.row_time.copy()
    time[time == np.iinfo(np.int64).max] = ALWAYS
    assert 'future row' in rules_broken(db, task, with_arrays(store, row_time=time))


def test_strict_differs(toy):
    db, task, store = toy
    db.table_dict['customers'].df.loc[:, 'joined'] = task.frame['time'].min()
    task = toy_task(db)
    store = build(db, VAL_TIMESTAMP).with_task(task)
    assert rules_broken(db, task, store, strict=False) == set()
    cells = sample_all(store, 'rolling', num_cells=60)
    violations = find_violations(cells, db, task, strict=True, cutoff=VAL_TIMESTAMP)
    assert any(violation.startswith('future row') for violation in violations)
    cells = sample_all(store, 'rolling', num_cells=60, strict=True)
    assert find_violations(cells, db, task, strict=True, cutoff=VAL_TIMESTAMP) == []


def test_labels_before_their_horizon_are_found(toy):
    db, task, store = toy
    task.horizon = pd.Timedelta('45 days')
    store = build(db, VAL_TIMESTAMP).with_task(task)
    assert rules_broken(db, task, store) == set()
    store.arrays = store.arrays._replace(horizon=0)
    assert rules_broken(db, task, store) == {'unknown label'}


def test_the_label_asked_for_is_found(toy):
    db, task, store = toy
    # Every label claims to be of long ago, that of the seed too.
    time = np.full_like(store.arrays.time, ALWAYS + 10)
    seed_time = store.arrays.time.copy()
    store.arrays = store.arrays._replace(time=time)
    rows = np.arange(len(time))
    kwargs = {'num_cells': 60, 'own_labels': 0.5}
    sampler = ContextLoader(store, input_nodes=rows, **kwargs).context_sampler
    cells = sampler.sample(rows, seed_time, seed_time, rows)
    broken = {v.split(':')[0] for v in find_violations(cells, db, task)}
    assert {'repeated row', 'unknown label'} <= broken


def test_a_visible_seed_label_is_found(toy):
    db, task, store = toy
    cells = sample_all(store, 'rolling', num_cells=60)
    first = cells.ptr[:-1]
    cells.value[first] = cells.target[first]
    violations = find_violations(cells, db, task, cutoff=VAL_TIMESTAMP)
    assert any(v.startswith('visible seed label') for v in violations)
    cells = sample_all(store, 'rolling', num_cells=60)
    cells.mask[:] = False
    violations = find_violations(cells, db, task, cutoff=VAL_TIMESTAMP)
    assert any(v.startswith('visible seed label') for v in violations)


def test_hidden_columns_that_show_are_found(toy):
    db, task, store = toy
    store.arrays = store.arrays._replace(hidden=np.zeros_like(store.arrays.hidden))
    assert rules_broken(db, task, store) == {'hidden column'}


def test_contexts_that_look_beyond_their_protocol_are_found(toy):
    db, task, store = toy
    cells = sample_all(store, 'rolling', num_cells=60)
    violations = find_violations(cells, db, task, 'frozen', cutoff=VAL_TIMESTAMP)
    assert {v.split(':')[0] for v in violations} == {'looks too far'}


def test_statistics_of_the_future_are_found(toy):
    db, task, _ = toy
    store = build(db, None).with_task(task)
    assert rules_broken(db, task, store) == {'wrong value', 'wrong label time'}
    store = build(db, VAL_TIMESTAMP).with_task(task)
    store.arrays = store.arrays._replace(value=store.arrays.value * 1.01)
    assert rules_broken(db, task, store) == {'wrong label value'}


def repeat_last_cell(cells):
    for name in ('row', 'column', 'cell_type', 'value', 'text_index'):
        cells[name][-2] = cells[name][-1]


def test_wrong_contents_and_links_are_found(toy):
    db, task, store = toy
    changes = [
        ('wrong value', lambda c: c.update({'value': c.value + 0.01})),
        ('wrong value', lambda c: c.text_embedding.add_(0.1)),
        ('wrong link', lambda c: c.fkey_index[1].copy_(c.fkey_index[1].flip(0))),
        (
            'missing link',
            lambda c: c.update(
                {'fkey_index': c.fkey_index[:, :0], 'fkey_type': c.fkey_type[:0]}
            ),
        ),
        ('repeated cell', repeat_last_cell),
        ('wrong row time', lambda c: c.row_time.add_(1)),
        ('wrong target', lambda c: c.target.mul_(2)),
        ('target of a visible cell', lambda c: c.target.fill_(0)),
    ]
    for rule, change in changes:
        cells = sample_all(store, 'rolling', num_cells=60)
        change(cells)
        violations = find_violations(
            cells, db, task, cutoff=VAL_TIMESTAMP, text_encoder=ENCODER
        )
        assert any(v.startswith(rule) for v in violations), rule
    cells = sample_all(store, 'rolling', num_cells=60)
    violations = find_violations(cells, db, task, num_cells=20, cutoff=VAL_TIMESTAMP)
    assert {v.split(':')[0] for v in violations} == {'too many cells'}
