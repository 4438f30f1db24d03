from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.audit import audit_task
from torch_geometric_rfm.data import CellType, load_database
from torch_geometric_rfm.datasets import SyntheticRelationalDatabase, generate_tasks
from torch_geometric_rfm.datasets.autocomplete_tasks import (
    autocomplete_columns,
    autocomplete_labels,
    revealing_columns,
)
from torch_geometric_rfm.datasets.forecast_tasks import (
    ACTIVE_WINDOWS,
    choose_horizons,
    seed_times,
)
from torch_geometric_rfm.datasets.task_tables import read_task_tables
from torch_geometric_rfm.datasets.usable_labels import Labels
from torch_geometric_rfm.metrics.baselines import evaluate_baselines
from torch_geometric_rfm.testing import random_database, toy_database

F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'


def rows_of(db, table, fkey):
    r"""The row of the parent of each row, -1 where there is none."""
    parent = db.table_dict[table].fkey_col_to_pkey_table[fkey]
    above = db.table_dict[parent]
    row_of = {key: row for row, key in enumerate(above.df[above.pkey_col])}
    keys = db.table_dict[table].df[fkey]
    return np.array([-1 if pd.isna(k) else row_of.get(k, -1) for k in keys])


def times_of(db, table):
    frame, time_col = db.table_dict[table].df, db.table_dict[table].time_col
    if time_col is None:
        return None
    return pd.to_datetime(frame[time_col]).reset_index(drop=True)


def happenings(db, hops):
    r"""Rows of the last table with the entity that they belong to and the time from
    which all rows on the way are there, by plain loops.
    """
    (table, fkey), *rest = hops
    found = {
        row: (entity, [row])
        for row, entity in enumerate(rows_of(db, table, fkey))
        if entity >= 0
    }
    tables = [table]
    for table, fkey in rest:
        found = {
            row: (found[above][0], [*found[above][1], row])
            for row, above in enumerate(rows_of(db, table, fkey))
            if above in found
        }
        tables.append(table)
    times = {name: times_of(db, name) for name in tables}
    out = []
    for row, (entity, way) in found.items():
        dated = [
            times[name][r] for name, r in zip(tables, way) if times[name] is not None
        ]
        if not any(pd.isna(time) for time in dated):
            out.append((entity, row, max(dated)))
    return pd.DataFrame(out, columns=['entity', 'row', 'time'])


def label_of(forecast, events, values, before):
    r"""The label of one entity from the happenings in its window."""
    if forecast == 'count':
        return len(events)
    if forecast == 'any':
        return float(len(events) > 0)
    values = values.iloc[events.sort_values(['time', 'row'])['row']].dropna()
    if forecast == 'total':
        return values.sum()
    if values.empty:
        return np.nan
    if forecast in ('low', 'high'):
        # The value that a fifth of those before val do not exceed, or fall below.
        known = np.sort(before)
        low = known[max(int(np.ceil(len(known) * 0.2)), 1) - 1]
        high = known[int(np.ceil(len(known) * 0.8)) - 1]
        return float(
            (values <= low).any() if forecast == 'low' else (values >= high).any()
        )
    return values.iloc[0] if forecast == 'next' else values.mean()


def check_forecast(db, task, val, test, max_rows=None):
    r"""Compares a forecast with what its name says, computed without SQL."""
    path, forecast, column = parse(db, task)
    events = happenings(db, path)
    events['time'] = events['time'].dt.floor('s')
    horizon, frame = task.horizon, task.frame
    values = None
    if column is not None:
        values = db.table_dict[path[-1][0]].df[column].reset_index(drop=True)
        values = pd.to_numeric(values.astype(object), errors='coerce').astype(float)
        values[np.isinf(values)] = np.nan
    before = None
    if values is not None:
        before = values.iloc[events.loc[events['time'] <= val, 'row']].dropna()
    born = times_of(db, task.entity_table)
    by_entity = dict(list(events.groupby('entity')))
    for time, asked in frame.groupby('time'):
        split = asked['split'].unique().item()
        end = time + horizon
        assert {'train': end <= val, 'val': time >= val, 'test': time >= test}[split]
        assert split != 'val' or end <= test
        expected = {}
        for entity, own in by_entity.items():
            lately = (own['time'] <= time) & (
                own['time'] > time - ACTIVE_WINDOWS * horizon
            )
            if not lately.any() or (born is not None and not born[entity] <= time):
                continue
            window = own[(own['time'] > time) & (own['time'] <= end)]
            label = label_of(forecast, window, values, before)
            if not np.isnan(label):
                expected[entity] = label
        got = dict(zip(asked['entity'], asked['label']))
        assert len(got) == len(asked)
        if max_rows is None:
            assert got.keys() == expected.keys()
        assert got.keys() <= expected.keys()
        for entity, label in got.items():
            assert label == pytest.approx(expected[entity], rel=1e-9, abs=1e-9)


def parse(db, task):
    r"""Path, kind and column of a forecast, by its name."""
    for table, first in db.table_dict.items():
        for fkey, parent in first.fkey_col_to_pkey_table.items():
            if parent != task.entity_table:
                continue
            ways = [[(table, fkey)]] + [
                [(table, fkey), (below, key)]
                for below, second in db.table_dict.items()
                for key, above in second.fkey_col_to_pkey_table.items()
                if above == table
            ]
            for way in ways:
                tables = '-'.join([parent, *(name for name, _ in way)])
                keys = '-'.join(key for _, key in way)
                for prefix in (f'{tables}-by-{keys}-', f'{tables}-'):
                    rest = task.name.removeprefix(prefix).rsplit('-', 1)[0]
                    kind, _, column = rest.partition('-')
                    column = column.removeprefix('of_')
                    columns = db.table_dict[way[-1][0]].df.columns
                    if task.name.startswith(prefix) and (
                        (kind in ('count', 'any') and not column) or column in columns
                    ):
                        return way, kind, column or None
    raise AssertionError(f'{task.name} cannot be read')


def forecasts(tasks):
    return [task for task in tasks if task.horizon > pd.Timedelta(0)]


def autocompletes(tasks):
    return [task for task in tasks if task.horizon == pd.Timedelta(0)]


def test_forecasts_of_random_databases_are_right(monkeypatch):
    r"""Random databases have null, equal and missing times, null and dangling
    keys, and several keys to a table.
    """

    def why_unusable(labels, cell_type):
        train = labels.label[labels.split == 0]
        least = 2 if cell_type == CellType.BOOLEAN else 1
        return None if len(np.unique(train)) >= least else 'constant'

    # Tables of a few rows: whatever a task can be made of is one.
    monkeypatch.setattr(Labels, 'why_unusable', why_unusable)
    monkeypatch.setattr('torch_geometric_rfm.datasets.task_maker.MIN_TRAIN_ROWS', 1)
    monkeypatch.setattr('torch_geometric_rfm.datasets.task_maker.MIN_VAL_ROWS', 1)
    val, test = pd.Timestamp('1969-12-31'), pd.Timestamp('1970-01-12')
    checked = Counter()
    for seed in range(10):
        db = random_database(seed)
        tasks = generate_tasks(
            db, val_timestamp=val, test_timestamp=test, horizons=['4D', '9D']
        )
        for task in forecasts(tasks):
            check_forecast(db, task, val, test)
            checked[parse(db, task)[1]] += 1
    assert checked


def test_forecasts_of_a_synthetic_database_are_right():
    dataset = SyntheticRelationalDatabase(1, num_tables=5, num_rows=4000)
    kinds = {}
    for task in forecasts(generate_tasks(dataset)):
        kinds.setdefault(parse(dataset.db, task)[1], task)
    assert kinds.keys() >= {'low', 'high', 'mean', 'next'}
    for task in kinds.values():
        check_forecast(dataset.db, task, dataset.val_timestamp, dataset.test_timestamp)


@pytest.fixture(scope='module')
def f1():
    return load_database(F1), generate_tasks(F1, max_tasks=8, seed=3, max_rows=800)


def test_forecasts_of_a_real_database_are_right(f1):
    db, tasks = f1
    val, test = pd.Timestamp('2005-01-01'), pd.Timestamp('2010-01-01')
    for task in forecasts(tasks)[:2]:
        check_forecast(db, task, val, test, max_rows=800)


def test_tasks_are_bounded_usable_and_of_two_kinds(f1):
    _, tasks = f1
    assert len(tasks) == len({task.name for task in tasks}) == 8
    assert len(autocompletes(tasks)) >= 2
    for task in tasks:
        sizes = Counter(task.frame['split'])
        assert max(sizes.values()) <= 800
        assert sizes['train'] >= 100
        assert sizes['val'] >= 20
        known = task.frame['time'] + task.horizon
        train = task.frame['split'] == 'train'
        assert (known[train] <= task.cutoffs['train']).all()
        assert task.frame['label'].notna().all()


def test_autocomplete_labels_are_the_hidden_column(f1):
    db, tasks = f1
    for task in autocompletes(tasks):
        table = db.table_dict[task.entity_table]
        assert (task.entity_table, task.target_col) in task.hidden_columns
        entity = task.frame['entity'].to_numpy()
        truth = table.df[task.target_col].to_numpy(dtype=np.float64)
        np.testing.assert_array_equal(task.frame['label'], truth[entity])
        assert len(set(entity)) == len(entity)
        if table.time_col is not None:
            time = pd.to_datetime(table.df[table.time_col]).to_numpy()
            assert (task.frame['time'].to_numpy() == time[entity]).all()


def test_entities_keep_all_their_labels():
    whole = {
        task.name: task for task in generate_tasks(F1, max_tasks=2, max_rows=10**6)
    }
    cut = {task.name: task for task in generate_tasks(F1, max_tasks=2, max_rows=300)}
    compared = 0
    for name in set(whole) & set(cut):
        if not whole[name].horizon.value:
            continue
        full = whole[name].frame.query('split == "train"')
        part = cut[name].frame.query('split == "train"')
        if len(full) == len(part):
            continue
        kept = full[full['entity'].isin(part['entity'].unique())]
        pd.testing.assert_frame_equal(
            kept.reset_index(drop=True), part.reset_index(drop=True)
        )
        compared += 1
    assert compared


def test_a_seed_gives_the_same_tasks():
    first, second = (generate_tasks(F1, max_tasks=3, seed=7) for _ in range(2))
    assert [t.name for t in first] == [t.name for t in second]
    for a, b in zip(first, second):
        pd.testing.assert_frame_equal(a.frame, b.frame)
        assert a.hidden_columns == b.hidden_columns
    assert [t.name for t in generate_tasks(F1, max_tasks=3, seed=8)] != [
        t.name for t in first
    ]


def test_audits_of_generated_tasks_find_nothing(f1):
    _, tasks = f1
    for task in [forecasts(tasks)[0], autocompletes(tasks)[0]]:
        assert audit_task(F1, task, contexts=20).findings == 0
    dataset = SyntheticRelationalDatabase(2, num_tables=5, num_rows=1200)
    for task in dataset.tasks(max_tasks=2):
        assert audit_task(dataset, task, contexts=20).findings == 0


def test_columns_that_give_the_label_away_are_hidden():
    db = toy_database()
    orders = db.table_dict['orders'].df
    orders['in_cents'] = orders['amount'] * 100
    orders['gift_code'] = np.where(orders['gift'], 'G', 'N')
    orders['noise'] = np.random.default_rng(0).normal(size=len(orders))
    age = db.table_dict['customers'].df['age']
    orders['age_of_customer'] = age.to_numpy()[orders['customer_id']]
    tables = read_task_tables(db)

    def found(table, column):
        rng = np.random.default_rng(0)
        return set(revealing_columns(tables, table, column, rng))

    assert found('orders', 'amount') == {('orders', 'in_cents')}
    assert found('orders', 'gift') == {('orders', 'gift_code')}
    assert found('orders', 'noise') == set()
    assert ('customers', 'age') in found('orders', 'age_of_customer')
    assert ('orders', 'age_of_customer') in found('customers', 'age')


def test_rows_of_undated_tables_are_asked_about_at_a_time_of_a_child():
    dataset = SyntheticRelationalDatabase(1, num_tables=5, num_rows=4000)
    db, tables = dataset.db, read_task_tables(dataset.db)
    undated = [
        (name, column)
        for name, column in autocomplete_columns(tables)
        if db.table_dict[name].time_col is None
    ]
    assert undated
    for name, column in undated[:3]:
        val = int(dataset.val_timestamp.timestamp())
        test = int(dataset.test_timestamp.timestamp())
        rng = np.random.default_rng(0)
        labels = autocomplete_labels(tables, name, column, val, test, 10_000, rng)
        assert len(labels.entity) > 20
        times = {}
        for child, table in db.table_dict.items():
            for fkey, parent in table.fkey_col_to_pkey_table.items():
                if parent == name and table.time_col is not None:
                    for row, time in zip(rows_of(db, child, fkey), times_of(db, child)):
                        times.setdefault(row, set()).add(int(time.timestamp()))
        for entity, time, split in zip(labels.entity, labels.time, labels.split):
            assert time in times[entity]
            assert split == int(time > val) + int(time > test)


def test_what_is_not_usable_is_dropped_with_the_reason():
    db = toy_database()
    db.table_dict['orders'].df['constant'] = 1.0
    db.table_dict['orders'].df['number'] = np.arange(200) + 7
    arguments = {'val_timestamp': '2021-05-01', 'test_timestamp': '2021-09-01'}
    tasks = generate_tasks(db, horizons=['60D', '1000D'], **arguments)
    dropped = dict(tasks.dropped)
    assert 'identifier' in dropped['orders-number']
    assert dropped['orders-constant'] == '100.0% of the train labels are equal'
    # The sum of ones is their number.
    name = 'customers-orders-total-constant-60d'
    assert dropped[name] == "the labels are those of 'customers-orders-count-60d'"
    assert 'train rows' in dropped['customers-orders-count-1000d']
    assert not {task.name for task in tasks} & set(dropped)


def test_windows_do_not_overlap_and_end_by_the_cutoffs():
    seeds = seed_times(first=0, last=500, horizon=30, val=200, test=310)
    train, val, test = (seeds['time'][seeds['split'] == i].tolist() for i in range(3))
    assert train == [20, 50, 80, 110, 140, 170]
    assert val == [200, 230, 260]
    assert test == [310, 340, 370, 400, 430, 460]


def test_horizons_follow_the_pace():
    day, last = 86_400, 4000 * 86_400
    val, test = 2000 * day, 3000 * day
    assert choose_horizons((day, day), 0, last, val, test) == [3 * day, 7 * day]
    # No longer than the splits.
    assert choose_horizons((1000 * day,) * 2, 0, last, val, test) == [365 * day]
    assert choose_horizons(None, 0, last, val, test) == []


def test_generated_tasks_can_be_learned():
    r"""What an entity had before says more than a constant."""
    better = []
    for seed in (1, 2):
        dataset = SyntheticRelationalDatabase(seed, num_tables=5, num_rows=4000)
        store = dataset.to_store('hashing')
        for task in forecasts(dataset.tasks(max_tasks=24)):
            if task.cell_type == CellType.BOOLEAN:
                scores = evaluate_baselines(store.with_task(task), 'val')
                ((_, auroc),) = scores['entity_mean'].items()
                better.append(auroc > 0.5)
    assert len(better) >= 8
    assert np.mean(better) > 0.8


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, 'val_timestamp is unknown: a database alone has no cutoffs'),
        (
            {'val_timestamp': '2022-01-01', 'test_timestamp': '2021-01-01'},
            'val_timestamp must be before test_timestamp',
        ),
        ({'max_tasks': 0}, r'max_tasks must be positive \(got 0\)'),
        ({'max_rows': 5}, r'max_rows must be at least 100 \(got 5\)'),
        ({'horizons': ['-1D']}, r'horizons must be whole seconds, .* \(got -1D\)'),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_tasks(toy_database(), **arguments)


def test_missing_duckdb_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'duckdb', None)
    dataset = SyntheticRelationalDatabase(0, num_tables=3, num_rows=500)
    with pytest.raises(ImportError, match=r'DuckDB is needed .* pip install'):
        dataset.tasks()
