r"""The SQL reads data frames as the parsing rules say."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
from relbench.base import Database, Table

from torch_geometric_rfm.audit import RawTables
from torch_geometric_rfm.audit.scales import datetime_scales, number_scales
from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.data.columns import infer_cell_type, to_raw_column
from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.statistics import mean_and_std

DATES = {
    'before 1970': [pd.Timestamp('1969-12-31 23:59:59.5'), pd.Timestamp(-9e18), pd.NaT],
    'nanoseconds': pd.DatetimeIndex(
        ['1677-10-01', '1969-12-31 23:59:59.999999', '2262-02-01']
    ).as_unit('ns'),
    'far years': pd.DatetimeIndex(['1677-12-31', '1678-01-01', '9999-01-01']).as_unit(
        's'
    ),
    'time zones': pd.DatetimeIndex(
        ['2020-03-29 03:00:00+02:00', '1969-12-31', None], tz='Europe/Berlin'
    ),
    'dates': [datetime.date(1950, 5, 13), None, datetime.date(2020, 2, 29)],
    'texts': ['2020-01-01', '1969-07-20T20:17:40', None],
    'texts with zones': ['2020-01-01 00:00:00+02:00', '2020-01-01T00:00:00Z', None],
    'no dates at all': [None, None, None],
}
NUMBERS = {
    'integers': [3, -4, 2**53],
    'nullable': pd.array([1, None, 3], dtype='Int64'),
    'booleans': [True, False, None],
    'infinite': [np.inf, -np.inf, np.nan],
    'beyond single precision': [1e39, 1e38, 0.1],
    'time spans': pd.to_timedelta(['1 days', '-00:00:01.5', None]),
    'decimals': [decimal.Decimal('1.25'), None, decimal.Decimal('-7')],
    'mixed': [1, 2.5, None],
}


def one_table(values, time_col=None):
    frame = pd.DataFrame({'id': np.arange(len(values)), 'x': pd.Series(values)})
    return Database({'t': Table(frame, {}, 'id', time_col)})


def fetch(raw, query):
    return [row[0] for row in raw.connection.execute(query).fetchall()]


@pytest.mark.parametrize('name', DATES)
def test_seconds(name):
    db = one_table(DATES[name], time_col='x')
    raw = RawTables(db)
    column, _ = to_raw_column(db.table_dict['t'].df['x'], CellType.DATETIME, 't')
    expected = [None if v == MISSING_TIME else v for v in column.values.tolist()]
    assert fetch(raw, 'SELECT time FROM t0 ORDER BY row') == expected
    kind = infer_cell_type(db.table_dict['t'].df['x'], 't')
    assert raw.is_datetime('t', 'x') == (kind == CellType.DATETIME)


def test_seconds_round_down():
    times = pd.to_datetime([-1000, 0, 1000], unit='ns')
    raw = RawTables(one_table(times, time_col='x'))
    assert fetch(raw, 'SELECT time FROM t0 ORDER BY row') == [-1, 0, 0]
    raw = RawTables(one_table([-0.5, 1.5, np.nan], time_col='x'))
    assert fetch(raw, 'SELECT time FROM t0 ORDER BY row') == [-1, 1, None]


@pytest.mark.parametrize('name', NUMBERS)
def test_values(name):
    db = one_table(NUMBERS[name])
    raw = RawTables(db)
    column, _ = to_raw_column(db.table_dict['t'].df['x'], CellType.NUMBER, 't')
    query = f'SELECT {raw.values("t", "x")} FROM t0 ORDER BY row'
    found = np.array(fetch(raw, query), dtype=np.float64)
    expected = column.values.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    'values',
    [
        ['2020-01-01', 'x', None],
        ['a', 'b', 'c'],
        [1.0, 2.0, 3.0],
        pd.Categorical(['2020-01-01', '2020-01-02', None]),
        pd.Series(['broken \ud800', 'b', None], dtype=object),
        pd.Series(['2020-01-01', 5, (1, 2)], dtype=object),
    ],
)
def test_what_is_no_date(values):
    assert not RawTables(one_table(values)).is_datetime('t', 'x')


def test_declared_types_count():
    db = one_table([1.5, 2.5, None])
    assert RawTables(db, {'t': {'x': 'timestamp'}}).is_datetime('t', 'x')
    db = one_table(['2020-01-01', None, None])
    assert RawTables(db).is_datetime('t', 'x')
    assert not RawTables(db, {'t': {'x': None}}).is_datetime('t', 'x')
    assert not RawTables(db, {'t': {'x': CellType.TEXT}}).is_datetime('t', 'x')


@pytest.mark.parametrize(
    ('keys', 'parents', 'expected'),
    [
        ([7, 9, 7], [9, 8, 7], [(0, 2), (1, 0), (2, 2)]),
        ([7.0, None, 5.0], [9, 8, 7], [(0, 2)]),
        (['b', None, 'z'], ['a', 'b', 'c'], [(0, 1)]),
        ([1, 2, 3], ['1', '2', '3'], []),
    ],
)
def test_keys(keys, parents, expected):
    child = pd.DataFrame({'key': pd.Series(keys)})
    db = Database(
        {
            'child': Table(child, {'key': 'parent'}),
            'parent': Table(pd.DataFrame({'id': parents}), {}, 'id'),
        }
    )
    raw = RawTables(db)
    query = f'{raw.parent_rows("child", "key")} ORDER BY ALL'
    assert raw.connection.execute(query).fetchall() == expected
    assert repr(raw) == 'RawTables(child, parent)'


def test_scales():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            'time': pd.to_datetime(rng.integers(-(10**6), 10**6, 50), unit='s'),
            'skewed': np.exp(3 * rng.normal(size=50)),
            'constant': 0.1,
            'empty': np.nan,
        }
    )
    frame.loc[3, 'time'] = pd.NaT
    raw = RawTables(Database({'t': Table(frame, {}, None, 'time')}))
    counted = (frame['time'] <= pd.Timestamp(100, unit='s')).to_numpy()
    for column in ('skewed', 'constant', 'empty'):
        scales = number_scales(raw.connection, raw, 't', column, 100)
        values = frame[column].to_numpy().astype(np.float32).astype(np.float64)
        np.testing.assert_allclose(scales.known, mean_and_std(values[counted]))
        np.testing.assert_allclose(scales.all_rows, mean_and_std(values))
    seconds = frame['time'].dropna().astype('datetime64[s]').astype(np.int64)
    known = seconds[seconds <= 100].to_numpy()
    scales = datetime_scales(raw.connection, raw, 100)
    np.testing.assert_allclose(scales.known, mean_and_std(known))
    np.testing.assert_allclose(scales.all_rows, mean_and_std(seconds.to_numpy()))
