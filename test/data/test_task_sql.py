import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.audit import audit_task
from torch_geometric_rfm.data import CellType, Task, load_dataset, load_task
from torch_geometric_rfm.testing import toy_database, toy_task

REL_F1 = Path(__file__).resolve().parents[2] / 'examples' / 'data' / 'rel-f1'
CUTOFFS = {'val_timestamp': '2021-05-01', 'test_timestamp': '2021-09-01'}
AMOUNT = """
    SELECT customer_id, timestamp AS date, sum(amount) AS amount
    FROM timestamps JOIN orders
    ON orders.date > timestamp AND orders.date <= timestamp + INTERVAL '{horizon}'
    GROUP BY ALL ORDER BY ALL
"""


def from_sql(sql, horizon='30 days', table='customers', **kwargs):
    return Task.from_sql(sql, toy_database(), table, horizon, **CUTOFFS | kwargs)


@pytest.mark.parametrize('name', ['driver-dnf', 'driver-position', 'driver-top3'])
def test_queries_of_relbench_give_its_labels(name):
    dataset = load_dataset(REL_F1)
    hosted = load_task(dataset, name)
    source = Task.from_relbench(hosted)
    sql = _manifest_sql(name)
    # What RelBench filters afterwards: drivers without a result have null keys.
    sql = f'SELECT * FROM ({sql}) WHERE driverId IS NOT NULL'
    task = Task.from_sql(sql, dataset, 'drivers', hosted.timedelta, name=name)
    assert task.cell_type == source.cell_type
    assert task.horizon == source.horizon
    assert task.cutoffs == source.cutoffs
    assert task.target_col == hosted.target_col

    keys = ['entity', 'time', 'split']
    expected = source.frame.set_index(keys)['label'].sort_index()
    found = task.frame.set_index(keys)['label'].sort_index()
    # RelBench stops after 40 times of val and test, and drops drivers that have no
    # row before the test cutoff.
    common = found.reindex(expected.index)
    missing = common.isna()
    assert missing.mean() < 0.01
    np.testing.assert_allclose(common[~missing], expected[~missing])
    train = found.xs('train', level='split')
    assert len(train) == (source.frame['split'] == 'train').sum()


def _manifest_sql(name):
    from relbench.manifest import TaskManifest

    return TaskManifest.load(REL_F1 / 'tasks' / name / 'manifest.yaml').sql


def test_labels_by_sql_equal_those_by_pandas():
    task = from_sql(AMOUNT, name='customer-amount')
    assert task.cell_type == CellType.NUMBER
    assert task.horizon == pd.Timedelta('30 days')
    expected = toy_task(kind='regression').frame
    expected = expected[expected['label'] > 0].set_index(['entity', 'time'])
    found = task.frame.set_index(['entity', 'time']).reindex(expected.index)
    np.testing.assert_allclose(found['label'], expected['label'])
    assert (found['split'] == expected['split']).all()


def test_contexts_of_a_query_are_clean():
    task = from_sql(AMOUNT, name='customer-amount')
    for protocol in ('rolling', 'frozen'):
        report = audit_task(toy_database(), task, contexts=90, protocol=protocol)
        assert report.contexts > 60
        assert report.findings == 0, report.to_dict()
    report = audit_task(toy_database(), task, contexts=90, horizon='200 days')
    assert report.findings > 0


def test_a_label_that_needs_the_future_is_found():
    sql = AMOUNT.replace("INTERVAL '{horizon}'", "INTERVAL '60 days'")
    with pytest.raises(ValueError, match=r'needs rows after time \+ horizon \(30 days'):
        from_sql(sql)
    longer = from_sql(sql, horizon='60 days')
    assert longer.horizon == pd.Timedelta('60 days')
    leaky = from_sql(sql, check_horizon=False)
    assert leaky.horizon == pd.Timedelta('30 days')


def test_rows_that_come_only_with_the_future_are_found():
    sql = """
        SELECT customer_id, timestamp, 1.5 * customer_id AS x
        FROM timestamps, customers
        WHERE customer_id IN (SELECT customer_id FROM orders
                              WHERE date > '2021-11-01')
    """
    with pytest.raises(ValueError, match='needs rows after'):
        from_sql(sql)


@pytest.mark.parametrize(
    'sql',
    [
        'DELETE FROM orders',
        'CREATE TABLE x AS SELECT 1',
        "COPY orders TO 'orders.csv'",
        'SELECT 1; DROP TABLE orders',
        'INSERT INTO orders SELECT * FROM orders',
        'SET threads = 1',
        "ATTACH 'x.db' AS x",
        '',
    ],
)
def test_a_query_cannot_write(sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='must be one SELECT'):
        from_sql(sql)
    assert not list(tmp_path.iterdir())


def test_a_query_reaches_the_tables_alone(tmp_path):
    secret = pd.DataFrame({'customer_id': [1]})  # noqa: F841
    (tmp_path / 'x.csv').write_text('customer_id\n1\n')
    for source in ('secret', f"'{tmp_path / 'x.csv'}'", "read_text('/etc/hostname')"):
        with pytest.raises(ValueError, match="the SQL of task 'task' fails"):
            from_sql(f'SELECT * FROM {source}')


def test_bad_queries():
    cases = {
        'SELEC 1': 'is no SQL of DuckDB',
        'SELECT * FROM nothing': "fails: .*nothing",
        'SELECT customer_id, date, amount FROM orders WHERE false': 'returns no rows',
        'SELECT date, amount FROM orders': "name no entity: .* 'customer_id'",
        'SELECT customer_id + 99 AS customer_id, date, amount FROM orders':
            r"names \d+ entities that table 'customers' lacks",
        'SELECT NULLIF(customer_id, 3) AS customer_id, date, amount FROM orders':
            'name no entity in row',
        'SELECT customer_id, amount FROM orders':
            "must have one column of datetimes, or time_col= say which",
        'SELECT customer_id, date, amount, gift FROM orders':
            r"one further column, or target_col= .*got \['amount', 'gift'\]",
        'SELECT customer_id, date, NULL::DOUBLE AS x FROM orders':
            "column 'x' of the labels .* has no values",
        "SELECT customer_id, '2021-01-01'::TIMESTAMP AS date, amount FROM orders":
            'stand before already',
    }  # fmt: skip
    for sql, message in cases.items():
        with pytest.raises(ValueError, match=message):
            from_sql(sql, check_horizon=False)
    with pytest.raises(ValueError, match='must say when they become known'):
        from_sql('SELECT customer_id, date, amount FROM orders', horizon=None)
    with pytest.raises(ValueError, match=r'has \{horizon\}; pass horizon='):
        from_sql(AMOUNT, horizon=None)
    with pytest.raises(ValueError, match="entity_table must be a table .*got 'custom'"):
        from_sql(AMOUNT, table='custom')
    with pytest.raises(ValueError, match='must not be that of a table'):
        from_sql(AMOUNT, name='orders')
    with pytest.raises(ValueError, match='need val_timestamp= and test_timestamp='):
        Task.from_sql(
            'SELECT customer_id, date, max(amount) AS x FROM orders GROUP BY ALL',
            toy_database(), 'customers', '1 day',
        )  # fmt: skip


def test_own_timestamps():
    times = pd.to_datetime(['2021-01-01', '2021-06-01', '2021-10-01'])
    task = from_sql(AMOUNT, timestamps=times)
    assert sorted(task.frame['time'].unique()) == list(times)
    assert task.frame.groupby('time')['split'].first().tolist() == [
        'train', 'val', 'test',
    ]  # fmt: skip


def frame_of(**columns):
    start = pd.Timestamp('2021-01-01')
    base = {
        'customer_id': [0, 1, 2, 3, 0, 1],
        'date': [start + pd.Timedelta(days=60 * i) for i in range(6)],
        'x': [1.5, 2.5, np.nan, 4.0, 5.0, 6.0],
    }
    return pd.DataFrame(base | columns)


def from_frame(frame, horizon='30 days', **kwargs):
    return Task.from_frame(
        frame, toy_database(), 'customers', horizon, **CUTOFFS | kwargs
    )


def test_splits_by_cutoffs_leave_a_gap():
    task = from_frame(frame_of(), '31 days')
    # 1 January, 2 March, 1 May, 30 June, 29 August, 28 October
    assert task.frame['split'].tolist() == [
        'train', 'train', 'val', 'val', 'gap', 'test',
    ]  # fmt: skip
    assert np.isnan(task.frame['label'][2])


def test_given_splits():
    split = ['train', 'train', 'train', 'val', 'test', 'test']
    task = Task.from_frame(frame_of(split=split), toy_database(), 'customers', '1 day')
    assert task.frame['split'].tolist() == split
    assert task.target_col == 'x'
    assert task.cutoffs['val'] == pd.Timestamp('2021-06-30')
    # Rows of a random split share their time, statistics need one of their own.
    split = ['train', 'val', 'train', 'train', 'test', 'train']
    with pytest.raises(ValueError, match='train rows .* are later than val rows'):
        Task.from_frame(frame_of(split=split), toy_database(), 'customers', '1 day')
    task = from_frame(frame_of(split=split))
    assert task.frame['split'].tolist() == split
    assert task.cutoffs['train'] == pd.Timestamp(CUTOFFS['val_timestamp'])
    with pytest.raises(ValueError, match="has no 'train' rows"):
        from_frame(frame_of(split='test'))
    with pytest.raises(ValueError, match='names no split in row 5'):
        from_frame(frame_of(split=['train'] * 5 + [None]))


def test_horizon_of_a_column():
    known = frame_of()['date'] + pd.to_timedelta([1, 2, 3, 9, 5, 6], unit='D')
    task = from_frame(frame_of(known=known), None, known_col='known')
    assert task.horizon == pd.Timedelta('9 days')
    with pytest.raises(ValueError, match=r'become known.*\(got both\)'):
        from_frame(frame_of(known=known), '1 day', known_col='known')
    early = known - pd.Timedelta('2 days')
    with pytest.raises(ValueError, match='known before their time'):
        from_frame(frame_of(known=early), None, known_col='known')


def test_horizons():
    assert from_frame(frame_of(), '31d').horizon == pd.Timedelta('31 days')
    assert from_frame(frame_of(), '2 D').horizon == pd.Timedelta('2 days')
    for bad in ('soon', '-1 days', pd.NaT):
        with pytest.raises(ValueError, match='horizon must'):
            from_frame(frame_of(), bad)


def test_label_types():
    assert from_frame(frame_of(x=[0, 1, 1, 0, 1, 0])).cell_type == CellType.BOOLEAN
    assert from_frame(frame_of(x=[0, 1, 2, 0, 1, 0])).cell_type == CellType.NUMBER
    flags = pd.array([True, False, None, True, True, False], dtype='boolean')
    task = from_frame(frame_of(x=flags))
    assert task.cell_type == CellType.BOOLEAN
    assert np.isnan(task.frame['label'][2])
    with pytest.raises(ValueError, match='must hold number labels'):
        from_frame(frame_of(x=list('abcdef')), cell_type='number')
    with pytest.raises(ValueError, match='neither 0 nor 1'):
        from_frame(frame_of(), cell_type='boolean')
    with pytest.raises(ValueError, match='unknown cell type'):
        from_frame(frame_of(), cell_type='numbr')


def test_times_of_frames():
    days = [datetime.date(2021, 1 + 2 * i, 1) for i in range(6)]
    assert from_frame(frame_of(date=days)).frame['time'][1] == pd.Timestamp(
        '2021-03-01'
    )
    zoned = frame_of()
    zoned['date'] = zoned['date'].dt.tz_localize('Europe/Berlin')
    assert from_frame(zoned).frame['time'][0] == pd.Timestamp('2020-12-31 23:00')
    with pytest.raises(ValueError, match='has no time in row 1'):
        from_frame(frame_of(date=[days[0], None, *days[2:]]))
    with pytest.raises(ValueError, match='must hold datetimes'):
        from_frame(frame_of(date=range(6)), time_col='date', target_col='x')


def test_bad_frames():
    with pytest.raises(ValueError, match='have no rows'):
        from_frame(frame_of()[:0])
    with pytest.raises(ValueError, match="have no column 'y'"):
        from_frame(frame_of(), target_col='y')
    with pytest.raises(ValueError, match='of an entity and time that stand before'):
        from_frame(pd.concat([frame_of(), frame_of()[:1]]))
    with pytest.raises(ValueError, match=r"must be pairs .*got \('ordrs', 'note'\)"):
        from_frame(frame_of(), hidden_columns=[('ordrs', 'note')])
    with pytest.raises(ValueError, match="column 'nte', which table 'orders' lacks"):
        from_frame(frame_of(), hidden_columns=[('orders', 'nte')])
    with pytest.raises(ValueError, match='must not be after test_timestamp'):
        from_frame(frame_of(), val_timestamp='2022-01-01')
    with pytest.raises(ValueError, match='no labels in its train split'):
        from_frame(frame_of(x=[np.nan, np.nan, 3.0, 4.0, 5.0, 6.0]))
