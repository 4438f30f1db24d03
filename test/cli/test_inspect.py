import io

import pytest
from rich.console import Console

from torch_geometric_rfm.cli.inspect import print_summary
from torch_geometric_rfm.data.summary import summarize_database
from torch_geometric_rfm.testing import toy_database


def printed(summary, width=80):
    out = io.StringIO()
    print_summary(summary, Console(file=out, width=width))
    return out.getvalue()


def task(**kwargs):
    fields = {
        'name': 'churn',
        'type': 'binary_classification',
        'kind': 'forecast',
        'entity_table': 'customers',
        'target': 'left',
        'rows': {'train': 12345, 'val': 6, 'test': 7},
        'horizon': '30 days',
        'trainable': True,
        'problem': None,
    }
    return {**fields, **kwargs}


@pytest.fixture
def summary():
    return summarize_database(toy_database())


@pytest.mark.parametrize('width', [60, 80, 200])
def test_names_stand_in_full(summary, width):
    text = printed(summary, width)
    for table in summary['tables']:
        for name in [table['name'], *(column['name'] for column in table['columns'])]:
            assert name in text
    assert '3 tables, 234 rows' in text
    assert 'key → customers' in text
    assert 'no infinite numbers' in ' '.join(text.split())
    assert 'Tasks' not in text


def test_anomalies_and_errors(summary):
    summary['tables'][0]['columns'][0]['anomalies'] = {'null': 3, 'infinite': 1}
    key = summary['tables'][1]['foreign_keys'][0]
    key['anomalies'] = {'null key': 15, 'dangling key': 2}
    summary['tables'][2]['errors'] = ['table [bold] is [/] odd']
    text = printed(summary, 120)
    assert '1 infinite' in text
    assert '2 dangling keys' in text
    assert '50%' in text
    # Names are data: square brackets are no markup.
    assert 'Error: table [bold] is [/] odd' in text


def test_tasks(summary):
    summary |= {'path': 'data/shop', 'val_timestamp': '2020', 'test_timestamp': '2021'}
    problem = "task 'links' is of type 'recommendation'"
    lost = dict.fromkeys(task(), None) | {'rows': {}, 'trainable': False}
    summary['tasks'] = [
        task(name='event', horizon='needs horizon', trainable=False, problem='Pass it'),
        task(name='links', trainable=False, problem=problem),
        task(name='filled', kind='autocomplete', horizon='0 days'),
        lost | {'name': 'broken', 'problem': 'KeyError: 1'},
    ]
    text = printed(summary)
    assert '12,345' in text
    assert 'at once' in text
    assert f'Not ready: {problem}' in text
    assert 'Not ready: KeyError: 1' in text
    assert 'Pass it' not in text
    assert "--horizon '45 days'" in ' '.join(text.split())
    assert 'pyg-rfm evaluate data/shop filled' in text
    assert 'pyg-rfm finetune data/shop filled --out runs/filled' in text
