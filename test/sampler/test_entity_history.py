import numpy as np
import pandas as pd
import pytest
import torch
from relbench.base import Database, Table

from torch_geometric_rfm.data import (
    CellStore,
    HashingTextEncoder,
    Task,
    TaskStore,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.sampler import (
    ContextSampler,
    EntityHistory,
    History,
    LocalNeighborhood,
    OwnLabels,
)
from torch_geometric_rfm.testing import toy_task_store
from torch_geometric_rfm.transforms import MaskCells

DAY = 86_400
ENCODER = HashingTextEncoder(channels=4)


def store_of(order_days, amounts, hidden=(), horizon='10 days', joined=None):
    r"""A customer with orders on some days, asked about on days 10, 20, ... of train
    and on day 100 of test.
    """
    customers = pd.DataFrame({'customer_id': [0, 1]})
    if joined is not None:
        customers['joined'] = pd.to_datetime(np.full(2, joined) * DAY, unit='s')
    orders = pd.DataFrame(
        {
            'order_id': np.arange(len(order_days)),
            'customer_id': np.zeros(len(order_days), dtype=np.int64),
            'date': pd.to_datetime(np.array(order_days) * DAY, unit='s'),
            'amount': np.array(amounts, dtype=np.float64),
        }
    )
    time_col = None if joined is None else 'joined'
    db = Database(
        {
            'customers': Table(customers, {}, 'customer_id', time_col),
            'orders': Table(orders, {'customer_id': 'customers'}, 'order_id', 'date'),
        }
    )
    data, col_stats = to_hetero(db)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cache_dir=False
    )
    days = [10, 20, 30, 40, 50, 60, 100]
    frame = pd.DataFrame(
        {
            'entity': np.zeros(7, dtype=np.int64),
            'time': pd.to_datetime(np.array(days) * DAY, unit='s'),
            'label': np.arange(7.0),
            'split': ['train'] * 6 + ['test'],
        }
    )
    cutoffs = dict.fromkeys(('train', 'val', 'test'), pd.Timestamp('1970-03-12'))
    task = Task(
        name='spend',
        entity_table='customers',
        entity_col='customer_id',
        time_col='time',
        target_col='label',
        cell_type=toy_task_store('regression').task.cell_type,
        frame=frame,
        cutoffs=cutoffs,
        horizon=pd.Timedelta(horizon),
        hidden_columns=list(hidden),
    )
    return TaskStore(store, task)


def raw_values(history, days, row=0):
    r"""Counts and means of children as they are before they are normalised."""
    until = np.array(days) * DAY
    value = history.values(np.full(len(days), row), until)
    return (value * history.std + history.mean)[:, len(LABELS) :]


LABELS = [
    'mean label of spend',
    'mean label of spend, smoothed',
    'mean label of spend of all lately',
    'number of known spend',
]
NAMES = [
    'number of orders by customer_id',
    'number of orders by customer_id in the last 10 days',
    'number of orders by customer_id in the last 40 days',
    'mean amount of orders by customer_id',
]


def test_counts_and_means_at_a_time():
    days, amounts = [1, 12, 15, 15, 55, 99], [4.0, 2.0, np.nan, 6.0, 8.0, 100.0]
    history = EntityHistory(store_of(days, amounts), num_cells=10, num_children=64)
    assert history.names == [*LABELS, *NAMES]
    found = raw_values(history, [0, 1, 14, 15, 25, 60])
    np.testing.assert_allclose(
        np.expm1(found[:, :3]),
        # An order of exactly that long ago is out of the window.
        [[0, 0, 0], [1, 1, 1], [2, 1, 2], [4, 3, 4], [4, 0, 4], [5, 1, 1]],
        atol=1e-9,
    )
    present = np.array([4.0, 2.0, 6.0, 8.0, 100.0])
    scores = (np.array([4.0, 2.0, 6.0, 8.0]) - present.mean()) / present.std(ddof=1)
    means = [scores[:n].mean() for n in (1, 2, 3, 3, 4)]
    np.testing.assert_allclose(found[1:, 3], means, rtol=1e-5)
    assert np.isnan(found[0, 3])


def test_means_are_over_the_latest():
    days, amounts = np.arange(1, 9), np.arange(8.0)
    store = store_of(days, amounts)
    history = EntityHistory(store, num_cells=10, num_children=2)
    scale = np.std(amounts, ddof=1)
    found = raw_values(history, [1, 4, 50])[:, 3] * scale + amounts.mean()
    np.testing.assert_allclose(found, [0.0, 2.5, 6.5], rtol=1e-5, atol=1e-6)


def test_statistics_are_of_train_rows_at_their_own_times():
    days, amounts = [5, 25, 45, 99], [1.0, 2.0, 3.0, 9.0]
    history = EntityHistory(store_of(days, amounts), num_cells=10, num_children=64)
    counts = np.log1p([1, 1, 2, 2, 3, 3])
    assert history.mean[4] == pytest.approx(counts.mean())
    assert history.std[4] == pytest.approx(counts.std())
    # Whatever comes after the last train row is not in them:
    later = store_of([5, 25, 45, 70, 80, 99], [1.0, 2.0, 3.0, 9.0, 9.0, 9.0])
    other = EntityHistory(later, num_cells=10, num_children=64)
    np.testing.assert_array_equal(history.mean[:7], other.mean[:7])
    assert torch.equal(history.column_quantiles[:7], other.column_quantiles[:7])


def test_room_hidden_columns_and_tasks_without_a_horizon():
    days, amounts = [5], [1.0]
    both = [*LABELS, *NAMES]
    for room in (2, 6):
        history = EntityHistory(store_of(days, amounts), room, 64)
        assert history.names == both[:room]
        found = history.values(np.zeros(1, dtype=np.int64), np.array([DAY]))
        assert found.shape == (1, room)
    hidden = store_of(days, amounts, hidden=[('orders', 'amount')])
    assert EntityHistory(hidden, 10, 64).names == both[:7]
    at_once = store_of(days, amounts, horizon='0 days')
    assert EntityHistory(at_once, 10, 64).names == [*LABELS[:2], LABELS[3], *NAMES[::3]]
    nothing = EntityHistory(store_of(days, amounts), 0, 64)
    assert nothing.values(np.zeros(3, dtype=np.int64), np.full(3, DAY)).shape == (3, 0)


def test_entities_that_are_not_there_yet_have_none():
    history = EntityHistory(store_of([5, 20], [1.0, 2.0], joined=15), 10, 64)
    found = raw_values(history, [14, 15])
    assert np.isnan(found[0]).all()
    assert np.expm1(found[1, 0]) == pytest.approx(1.0)
    # The other customer never orders:
    found = raw_values(history, [15], row=1)
    np.testing.assert_allclose(np.expm1(found[0, :3]), 0.0, atol=1e-9)
    assert np.isnan(found[0, 3])


def history_cells(cells, context):
    r"""Names and values of what summarises the entity of a context."""
    first, last = cells.ptr[context : context + 2].tolist()
    return {
        cells.column_names[cells.column[i]]: float(cells.value[i])
        for i in range(first, last)
        if cells.column_names[cells.column[i]] in (*LABELS, *NAMES)
    }


@pytest.mark.parametrize(('protocol', 'day'), [('rolling', 100), ('frozen', 70)])
def test_cells_of_a_context(protocol, day):
    store = store_of([1, 30, 80, 99, 100], [1.0, 5.0, 2.0, 7.0, 3.0])
    loader = ContextLoader(
        store, input_nodes='test', protocol=protocol, num_cells=24, history=0.4
    )
    cells = next(iter(loader))
    history = EntityHistory(store, 8, 64)
    expected = history.values(np.zeros(1, dtype=np.int64), np.array([day * DAY]))[0]
    found = history_cells(cells, 0)
    assert list(found) == [*LABELS, *NAMES]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-6)
    # They are cells of the seed's row, after its label and its time.
    assert cells.row[2:10].tolist() == [0] * 8
    assert not cells.mask[2:10].any()
    assert len(cells.column_names) == len(cells.column_embedding)
    assert len(cells.column_names) == len(cells.column_quantiles)


def test_strict_leaves_out_that_very_second():
    store = store_of([50, 100], [1.0, 5.0])
    for strict, count in ((False, 2), (True, 1)):
        loader = ContextLoader(
            store, input_nodes='test', num_cells=24, history=0.4, strict=strict
        )
        history = loader.context_sampler.history
        found = history_cells(next(iter(loader)), 0)[NAMES[0]]
        raw = found * history.std[4] + history.mean[4]
        assert np.expm1(raw) == pytest.approx(count, rel=1e-5)


def test_contexts_keep_their_size():
    store = toy_task_store()
    policies = [LocalNeighborhood(), History(0.4), OwnLabels(0.3)]
    for num_cells in (2, 5, 16, 40):
        sampler = ContextSampler(store, policies, num_cells=num_cells)
        rows = np.arange(60)
        time = store.arrays.time[rows]
        cells = sampler.sample(rows, time, time, rows)
        assert int(cells.ptr.diff().max()) <= num_cells
        assert cells.mask.nonzero().view(-1).tolist() == cells.ptr[:-1].tolist()


def test_threads_and_workers_change_nothing():
    store = toy_task_store()
    arguments = {'num_cells': 40, 'history': 0.3, 'batch_size': 30}
    plain = next(iter(ContextLoader(store, **arguments)))
    for other in ({'num_threads': 3}, {'num_workers': 1}):
        cells = next(iter(ContextLoader(store, **arguments, **other)))
        assert torch.equal(plain.value, cells.value)
        assert torch.equal(plain.column, cells.column)


def test_without_a_task_there_is_none():
    store = toy_task_store().store
    loader = ContextLoader(
        store, input_nodes='shops', input_time=torch.tensor(0), history=0.3
    )
    assert loader.context_sampler.history is None


def test_summaries_may_be_hidden_but_not_drawn():
    # Their column has no values in the database that could take their place.
    transform = MaskCells('uniform', rate=0.9, corruption=(0.0, 1.0, 0.0))
    loader = ContextLoader(
        store_of([1, 30, 80], [1.0, 5.0, 2.0]),
        input_nodes='test',
        num_cells=24,
        history=0.4,
        transform=transform,
    )
    cells = next(iter(loader))
    names = [cells.column_names[c] for c in cells.column.tolist()]
    asked = cells.predict_mask
    assert any(asked[i] and name in (*LABELS, *NAMES) for i, name in enumerate(names))


def test_bad_input():
    with pytest.raises(ValueError, match=r'share of History must lie in .* \(got 2\)'):
        History(2)
    with pytest.raises(ValueError, match=r'num_children of History .* \(got 0\)'):
        History(0.1, num_children=0)
    store = toy_task_store()
    with pytest.raises(ValueError, match='at most one History'):
        ContextSampler(store, [LocalNeighborhood(), History(0.1), History(0.1)])
    with pytest.raises(
        ValueError, match=r'share the cells .* \(got History 0.8 \+ OwnLabels 0.3 > 1\)'
    ):
        ContextSampler(store, [LocalNeighborhood(), History(0.8), OwnLabels(0.3)])
