import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from relbench.base import Database, Table
from torch_frame import stype
from torch_frame.data.stats import StatType, compute_col_stats

from torch_geometric_rfm.data import CellStore, to_hetero
from torch_geometric_rfm.data.frame_stats import number_stats, timestamp_stats
from torch_geometric_rfm.data.frame_time import frame_to_seconds
from torch_geometric_rfm.testing import random_database, toy_database


def one_table(**columns):
    frame = pd.DataFrame(
        {'id': np.arange(len(next(iter(columns.values())))), **columns}
    )
    return Database({'t': Table(frame, {}, pkey_col='id')})


def cell_type(values, **kwargs):
    data, _ = to_hetero(one_table(c=values), **kwargs)
    return data['t'].cell_types['c']


def test_layout():
    data, col_stats = to_hetero(toy_database())
    data.validate()
    assert data.node_types == ['shops', 'customers', 'orders']
    assert data.num_nodes == 234
    assert set(data.edge_types) == {
        ('customers', 'f2p_shop_id', 'shops'),
        ('shops', 'rev_f2p_shop_id', 'customers'),
        ('orders', 'f2p_customer_id', 'customers'),
        ('customers', 'rev_f2p_customer_id', 'orders'),
    }
    assert 'time' not in data['shops']
    orders = toy_database().table_dict['orders'].df
    first = data['orders'].time[0].item()
    assert pd.Timestamp(first, unit='s') == orders['date'].iloc[0]
    edge_index = data['orders', 'f2p_customer_id', 'customers'].edge_index
    assert edge_index[1].tolist() == orders['customer_id'].tolist()
    reverse = data['customers', 'rev_f2p_customer_id', 'orders'].edge_index
    assert (reverse[0].diff() >= 0).all()
    assert data['customers', 'f2p_shop_id', 'shops'].num_edges == 28
    assert data['customers'].anomalies['shop_id'] == {'null key': 2}
    assert col_stats['shops']['city'][StatType.COUNT] == (
        ['Aachen', 'Bremen', 'Celle'],
        [2, 1, 1],
    )
    assert data['customers'].cell_types == {
        'joined': 'datetime',
        'age': 'number',
        'about': 'text',
    }
    assert data['orders'].cell_types['gift'] == 'boolean'
    assert data['orders'].cell_types['status'] == 'category'


def test_statistics_stop_at_the_cutoff():
    db = toy_database()
    orders = db.table_dict['orders'].df
    cutoff = pd.Timestamp('2021-01-01')
    _, col_stats = to_hetero(db, cutoff=cutoff)
    known = orders['amount'][orders['date'] <= cutoff]
    assert col_stats['orders']['amount'][StatType.MEAN] == pytest.approx(known.mean())
    assert sum(col_stats['orders']['status'][StatType.COUNT][1]) == len(known)


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([1, 2], 'number'),
        ([1.5, None], 'number'),
        ([Decimal('1.5'), None], 'number'),
        ([None, None], 'number'),
        (pd.array([1, None], dtype='Int64'), 'number'),
        (pd.to_timedelta([1, 2], unit='D'), 'number'),
        ([True, False], 'boolean'),
        ([True, None], 'boolean'),
        (pd.array([True, None], dtype='boolean'), 'boolean'),
        (pd.to_datetime(['2020-01-01', None]), 'datetime'),
        (['2020-01-01', None], 'datetime'),
        (pd.Categorical(['a', 'b']), 'category'),
        (['a', 'b', None], 'category'),
        ([f'word {i}' for i in range(30)], 'text'),
    ],
)
def test_inference(values, expected):
    assert cell_type(values) == expected


def test_overrides():
    assert cell_type(['a', 'b'], col_to_stype={'t': {'c': 'text'}}) == 'text'
    assert cell_type([0, 1], col_to_stype={'t': {'c': 'boolean'}}) == 'boolean'
    given = {'t': {'c': stype.categorical}}
    assert cell_type([1, 2], col_to_stype=given) == 'category'
    given = {'t': {'c': stype.text_embedded}}
    assert cell_type(['a', 'b'], col_to_stype=given) == 'text'
    data, _ = to_hetero(one_table(c=[1, 2]), col_to_stype={'t': {'c': None}})
    assert data['t'].cell_types == {}
    assert data['t'].tf.col_names_dict == {stype.numerical: ['__const__']}
    store = CellStore.from_hetero(data, text_encoder='hashing', cache_dir=False)
    assert store.column_names == []


def test_what_is_mended_is_counted():
    years = [np.datetime64('1500-01-01', 's'), np.datetime64('2020-01-01', 's')]
    db = one_table(
        a=[1.0, np.inf, -np.inf, np.nan, 1e39],
        b=[*np.array(years), *np.array(['NaT', 'NaT', '2021-01-01'], 'datetime64[s]')],
        c=['2020-01-01', None, '2021-01-01 10:00', '2022-01-01', '2020-01-99'],
    )
    data, col_stats = to_hetero(db)
    assert data['t'].anomalies == {
        'a': {'null': 1, 'infinite': 3},
        'b': {'null': 2, 'date out of range': 1},
        'c': {'null': 1, 'date out of range': 1},
    }
    assert data['t'].tf.feat_dict[stype.numerical].isnan().sum() == 4
    assert col_stats['t']['a'][StatType.MEAN] == 1.0


def test_keys():
    parent = Table(pd.DataFrame({'id': ['x', 'y'], 'v': [1, 2]}), {}, pkey_col='id')
    frame = pd.DataFrame(
        {'up': ['y', None, 'z', 'x', 'y'], 'down': [1.0, 0, 9, None, 1]}
    )
    other = Table(pd.DataFrame({'id': [1, 0], 'v': [1, 2]}), {}, pkey_col='id')
    child = Table(frame, {'up': 'parent', 'down': 'other'})
    data, _ = to_hetero(Database({'child': child, 'parent': parent, 'other': other}))
    edge_index = data['child', 'f2p_up', 'parent'].edge_index
    assert edge_index.tolist() == [[0, 3, 4], [1, 0, 1]]
    edge_index = data['child', 'f2p_down', 'other'].edge_index
    assert edge_index.tolist() == [[0, 1, 4], [0, 1, 0]]
    assert data['child'].anomalies == {
        'up': {'null key': 1, 'dangling key': 1},
        'down': {'null key': 1, 'dangling key': 1},
    }
    assert data['child'].cell_types == {}


def test_time_in_numbers_is_unix_seconds():
    # As RelBench has it: not nanoseconds, which would put all rows in 1970.
    frame = pd.DataFrame({'x': [1, 2, 3], 'time': [1_600_000_000.0, np.nan, -5]})
    data, _ = to_hetero(Database({'t': Table(frame, {}, time_col='time')}))
    missing = np.iinfo(np.int64).min
    assert data['t'].time.tolist() == [1_600_000_000, missing, -5]


@pytest.mark.parametrize('unit', ['s', 'ms', 'us', 'ns'])
def test_time_of_any_resolution(unit):
    times = pd.to_datetime(['2020-01-01 00:00:01', None, '1960-05-05 00:00:00']).astype(
        f'datetime64[{unit}]'
    )
    frame = pd.DataFrame({'x': [1, 2, 3], 'time': times})
    data, _ = to_hetero(Database({'t': Table(frame, {}, time_col='time')}))
    expected = [int(pd.Timestamp(t).timestamp()) for t in times[[0, 2]]]
    assert data['t'].time[[0, 2]].tolist() == expected
    frame['time'] = frame['time'].dt.tz_localize('Europe/Berlin')
    data, _ = to_hetero(Database({'t': Table(frame, {}, time_col='time')}))
    assert data['t'].time[0] == expected[0] - 3600
    fields = data['t'].tf.feat_dict[stype.timestamp][:, 0]
    assert frame_to_seconds(fields).tolist() == data['t'].time.tolist()


def test_timestamp_stats_are_those_of_frame():
    seconds = np.array([1_600_000_000, -86_400 * 365, 7, 0], dtype=np.int64)
    series = pd.Series(seconds.astype('datetime64[s]'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Frame hands read-only arrays to torch.
        expected = compute_col_stats(series, stype.timestamp)
    given = timestamp_stats(seconds)
    assert set(given) == set(expected)
    for key, value in expected.items():
        if key == StatType.YEAR_RANGE:
            assert given[key] == value
        else:
            assert torch.equal(given[key], value.view(-1))
    empty = compute_col_stats(series[:0], stype.timestamp)
    given = timestamp_stats(seconds[:0])
    assert given[StatType.YEAR_RANGE] == empty[StatType.YEAR_RANGE]
    assert torch.equal(given[StatType.OLDEST_TIME], empty[StatType.OLDEST_TIME])


@pytest.mark.parametrize('values', [[1.0, 4.0, 2.5, np.nan, np.inf], [np.nan], []])
def test_number_stats_are_those_of_frame(values):
    expected = compute_col_stats(pd.Series(values, dtype=float), stype.numerical)
    given = number_stats(np.array(values, dtype=float))
    assert set(given) == set(expected)
    for key, value in expected.items():
        assert np.allclose(given[key], value, equal_nan=True)


@pytest.mark.parametrize('seed', range(10))
def test_random_databases(seed):
    db = random_database(seed)
    data, col_stats = to_hetero(db)
    for name, table in db.table_dict.items():
        assert data[name].num_nodes == len(table.df)
        for columns in data[name].tf.col_names_dict.values():
            assert set(columns) <= set(col_stats[name])


def broken(**changes):
    arguments = {
        'df': pd.DataFrame({'id': [1, 2], 'up': [1, 2], 'x': [1.0, 2.0]}),
        'fkey_col_to_pkey_table': {'up': 't'},
        'pkey_col': 'id',
        'time_col': None,
    }
    return Database({'t': Table(**{**arguments, **changes})})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'df': pd.DataFrame({'id': []})}, "table 't' has no rows"),
        ({'pkey_col': 'key'}, "primary key 'key' of table 't' does not exist"),
        ({'time_col': 'when'}, "time column 'when' of table 't' does not exist"),
        (
            {'fkey_col_to_pkey_table': {'side': 't'}},
            "foreign key 'side' of table 't' does not exist",
        ),
        (
            {'fkey_col_to_pkey_table': {'up': 'u'}},
            "leads to table 'u', which does not exist \\(tables are: t\\)",
        ),
        ({'pkey_col': None}, "leads to table 't', which has no primary key"),
    ],
)
def test_key_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        to_hetero(broken(**changes))


def test_value_errors():
    frame = pd.DataFrame({'id': [1, 1], 'x': [1.0, 2.0]})
    with pytest.raises(ValueError, match='is not unique .*1 more than once'):
        to_hetero(Database({'t': Table(frame, {}, pkey_col='id')}))
    frame = pd.DataFrame({'id': [1, None], 'x': [1.0, 2.0]})
    with pytest.raises(ValueError, match="'id' of table 't' is null in row 1"):
        to_hetero(Database({'t': Table(frame, {}, pkey_col='id')}))
    with pytest.raises(ValueError, match="column 'c' of table 't' holds values that"):
        to_hetero(one_table(c=[[1], [2, 3]]))
    to_hetero(one_table(c=[[1], [2, 3]]), {'t': {'c': None}})
    with pytest.raises(ValueError, match='is no boolean \\(got 2\\)'):
        to_hetero(one_table(c=[1, 2]), {'t': {'c': 'boolean'}})
    with pytest.raises(ValueError, match='declared a number but holds other values'):
        to_hetero(one_table(c=['a', 'b']), {'t': {'c': 'number'}})
    with pytest.raises(ValueError, match='cannot be an embedding'):
        to_hetero(one_table(c=[1, 2]), {'t': {'c': 'embedding'}})
    with pytest.raises(ValueError, match="unknown table \\(got 'u', known are: t\\)"):
        to_hetero(one_table(c=[1, 2]), {'u': {}})
    with pytest.raises(ValueError, match="unknown column of table 't' \\(got 'd'"):
        to_hetero(one_table(c=[1, 2]), {'t': {'d': 'text'}})
    with pytest.raises(ValueError, match="stype 'multicategorical', which is not tok"):
        to_hetero(one_table(c=[1, 2]), {'t': {'c': stype.multicategorical}})
    with pytest.raises(ValueError, match='image'):
        to_hetero(one_table(c=[1, 2]), {'t': {'c': 'image_embedded'}})
    with pytest.raises(ValueError, match="'nonsense'"):
        to_hetero(one_table(c=[1, 2]), {'t': {'c': 'nonsense'}})
