import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from relbench.base import Database, Table
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from torch_geometric_rfm.data import load_dataset, to_hetero
from torch_geometric_rfm.data.summary import summarize_database
from torch_geometric_rfm.testing import toy_database

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'


def by_name(entries):
    return {entry['name']: entry for entry in entries}


def odd_database():
    parents = pd.DataFrame({'id': [0, 1, 2], 'x': [1.0, np.inf, np.nan]})
    times = np.array(['2020-01-01', '0001-01-01', 'NaT', '2021-01-01'], 'datetime64[s]')
    children = pd.DataFrame(
        {
            'id': range(4),
            'parent_id': [0.0, 9.0, np.nan, 2.0],
            'time': times,
            'name': ['a', 'b', 'a', None],
            'tags': [['x'], ['y'], [], ['z']],
        }
    )
    return Database(
        {
            'parents': Table(parents, {}, pkey_col='id'),
            'children': Table(
                children, {'parent_id': 'parents'}, pkey_col='id', time_col='time'
            ),
            'empty': Table(pd.DataFrame({'id': [], 'x': []}), {}, pkey_col='id'),
            'doubled': Table(pd.DataFrame({'id': [7, 7]}), {}, pkey_col='id'),
            'orphans': Table(
                pd.DataFrame({'nobody': [1]}),
                {'nobody': 'missing', 'gone': 'parents'},
                time_col='lost',
            ),
        }
    )


def test_toy_database():
    summary = summarize_database(toy_database())
    assert summary['rows'] == 234
    assert summary['tasks'] == []
    assert summary['path'] is None
    tables = by_name(summary['tables'])
    orders = tables['orders']
    frame = toy_database().table_dict['orders'].df
    assert orders['primary_key'] == 'order_id'
    assert orders['time_column'] == 'date'
    ends = [str(frame['date'].min())[:10], str(frame['date'].max())[:10]]
    assert orders['time_span'] == ends
    assert orders['foreign_keys'] == [
        {'column': 'customer_id', 'parent': 'customers', 'anomalies': {}}
    ]
    columns = by_name(orders['columns'])
    assert columns['note'] == {
        'name': 'note',
        'type': 'text',
        'null_share': round(frame['note'].isna().mean(), 6),
        'unique_strings': frame['note'].nunique(),
        'anomalies': {'null': int(frame['note'].isna().sum())},
    }
    assert (columns['gift']['type'], columns['gift']['unique_strings']) == (
        'boolean',
        None,
    )
    shop = tables['customers']['foreign_keys'][0]
    assert shop['anomalies'] == {'null key': 2}
    assert not any(table['errors'] for table in tables.values())
    assert json.loads(json.dumps(summary)) == summary


def test_types_and_anomalies_are_those_of_to_hetero():
    db = toy_database()
    db.table_dict['shops'].df['area'] = [np.inf, 80.0, np.nan, 200.0]
    data, _ = to_hetero(db)
    for table in summarize_database(db)['tables']:
        types = {column['name']: column['type'] for column in table['columns']}
        assert types == data[table['name']].cell_types
        counts = {
            name: odd for name, odd in data[table['name']].anomalies.items() if odd
        }
        assert table['anomalies'] == counts


def test_odd_tables_are_summarised_all_the_same():
    tables = by_name(summarize_database(odd_database())['tables'])
    assert tables['parents']['anomalies'] == {'x': {'null': 1, 'infinite': 1}}
    children = tables['children']
    assert children['time_span'] == ['2020-01-01', '2021-01-01']
    assert children['anomalies'] == {
        'parent_id': {'null key': 1, 'dangling key': 1},
        'time': {'null': 1, 'date out of range': 1, 'missing time': 2},
        'name': {'null': 1},
    }
    assert [column['name'] for column in children['columns']] == ['time', 'name']
    assert "column 'tags' of table 'children'" in children['errors'][0]
    assert "table 'empty' has no rows" in tables['empty']['errors'][0]
    assert by_name(tables['empty']['columns'])['x']['null_share'] == 0
    assert 'is not unique (got 7' in tables['doubled']['errors'][0]
    nobody, gone, lost = tables['orphans']['errors']
    assert "leads to table 'missing'" in nobody
    assert "'gone' of table 'orphans' does not exist" in gone
    assert "time column 'lost' of table 'orphans' does not exist" in lost


@pytest.fixture
def folder(tmp_path):
    r"""A RelBench folder with one table, and tasks of every sort."""
    days = pd.date_range('2020-01-01', periods=8, freq='30D')
    items = pd.DataFrame({'id': np.arange(8), 'time': days, 'size': range(8)})
    (tmp_path / 'db').mkdir()
    items.to_parquet(tmp_path / 'db' / 'items.parquet')
    DatasetManifest(
        name='box',
        val_timestamp='2020-04-01',
        test_timestamp='2020-06-15',
        tables={'items': TableSpec(pkey='id', time_col='time')},
    ).save(tmp_path / 'manifest.yaml')

    def add_task(name, label=(0, 1), entity=(0, 1), **kwargs):
        place = tmp_path / 'tasks' / name
        fields = {
            'kind': 'forecast',
            'task_type': 'binary_classification',
            'entity_table': 'items',
            'entity_col': 'id',
            'target_col': 'y',
            'time_col': 'time',
            'timedelta': '20 days',
            'sql': 'SELECT 1',
        }
        TaskManifest(name=name, **{**fields, **kwargs}).save(place / 'manifest.yaml')
        for i, split in enumerate(('train', 'val', 'test')):
            rows = {'time': days[2 * i : 2 * i + 2], 'id': entity, 'y': label}
            pd.DataFrame(rows).to_parquet(place / f'{split}.parquet')

    external = {'kind': 'external', 'timedelta': None, 'sql': None}
    add_task('fine')
    add_task('many', task_type='multiclass_classification')
    add_task('event', **external)
    add_task('event-constant', label=(1, 1), **external)
    add_task('constant', label=(1, 1))
    add_task('unknown', entity=(0, 99))
    add_task('nameless', target_col=None)
    add_task('lost')
    (tmp_path / 'tasks' / 'lost' / 'val.parquet').write_bytes(b'')
    add_task('garbled')
    (tmp_path / 'tasks' / 'garbled' / 'manifest.yaml').write_text('[}')
    return tmp_path


def test_tasks(folder):
    summary = summarize_database(str(folder))
    assert (summary['name'], summary['path']) == ('box', str(folder))
    assert summary['val_timestamp'] == '2020-04-01'
    assert summary['time_span'] == ['2020-01-01', '2020-07-29']
    tasks = by_name(summary['tasks'])
    assert tasks['fine'] == {
        'name': 'fine',
        'type': 'binary_classification',
        'kind': 'forecast',
        'entity_table': 'items',
        'target': 'y',
        'rows': {'train': 2, 'val': 2, 'test': 2},
        'horizon': '20 days',
        'trainable': True,
        'problem': None,
    }
    trainable = [name for name, task in tasks.items() if task['trainable']]
    assert trainable == ['fine', 'many']
    assert tasks['event']['horizon'] == 'needs horizon'
    assert 'Pass horizon=' in tasks['event']['problem']
    assert tasks['event-constant']['horizon'] == 'needs horizon'
    assert 'has no negative rows' in tasks['constant']['problem']
    assert tasks['constant']['rows'] == {'train': 2, 'val': 2, 'test': 2}
    assert "entities that table 'items' lacks" in tasks['unknown']['problem']
    for name in ('nameless', 'lost', 'garbled'):
        assert tasks[name].keys() == tasks['fine'].keys()
        # An error that is not ours goes by its type.
        assert re.match(r'[A-Z]\w+: ', tasks[name]['problem'])
    assert json.loads(json.dumps(summary)) == summary


def test_a_dataset_may_be_loaded_already(folder):
    dataset = load_dataset(str(folder))
    assert summarize_database(dataset) == summarize_database(str(folder))


def test_rel_f1():
    summary = summarize_database(str(REL_F1))
    assert (len(summary['tables']), summary['rows']) == (9, 97606)
    tasks = by_name(summary['tasks'])
    assert tasks['driver-dnf']['rows'] == {'train': 11411, 'val': 566, 'test': 702}
    assert tasks['driver-dnf']['horizon'] == '30 days'
    assert tasks['results-position']['horizon'] == '0 days'
    links = tasks['driver-circuit-compete']
    assert links['entity_table'] == 'drivers → circuits'
    assert links['trainable']
