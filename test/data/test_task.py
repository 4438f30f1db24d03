from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.data import (
    CellType,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.testing import toy_database, toy_task, toy_task_store

REL_F1 = Path(__file__).resolve().parents[2] / 'examples' / 'data' / 'rel-f1'


@pytest.fixture(scope='module')
def rel_f1():
    return load_database(REL_F1)


def test_forecast(rel_f1):
    relbench_task = load_task(REL_F1, 'driver-dnf')
    task = Task.from_relbench(relbench_task, rel_f1)
    assert task.name == 'driver-dnf'
    assert task.entity_table == 'drivers'
    assert task.cell_type == CellType.BOOLEAN
    assert task.horizon == relbench_task.timedelta == pd.Timedelta('30 days')
    assert task.hidden_columns == []
    counts = task.frame['split'].value_counts().to_dict()
    assert counts == {'train': 11_411, 'val': 566, 'test': 702}
    assert not task.frame['label'].isna().any()
    assert task.cutoffs['test'] == load_dataset(REL_F1).test_timestamp
    assert task.cutoffs['train'] == task.cutoffs['val']
    test = relbench_task.get_table('test', mask_input_cols=False).df
    chosen = task.frame[task.frame['split'] == 'test']
    keys = rel_f1.table_dict['drivers'].df['driverId'].to_numpy()[chosen['entity']]
    assert np.array_equal(keys, test['driverId'])
    assert np.array_equal(chosen['label'], test[relbench_task.target_col])
    perfect = task.evaluate(chosen['label'].to_numpy(), 'test')
    assert perfect == {'roc_auc': 1.0}
    assert task.score(chosen['label'].to_numpy(), chosen['label'].to_numpy()) == perfect
    longer = Task.from_relbench(relbench_task, rel_f1, horizon='60 days')
    assert longer.horizon == pd.Timedelta('60 days')


def test_autocomplete(rel_f1):
    task = Task.from_relbench(load_task(REL_F1, 'results-position'), rel_f1)
    assert task.horizon == pd.Timedelta(0)
    assert task.cell_type == CellType.NUMBER
    assert ('results', 'position') in task.hidden_columns
    results = rel_f1.table_dict['results'].df
    # The entity is the row itself, at its own time, and its label stands there.
    rows = results.iloc[task.frame['entity']]
    assert np.array_equal(rows['date'], task.frame['time'])
    assert np.array_equal(rows['position'], task.frame['label'])
    test = task.frame['label'][task.frame['split'] == 'test'].to_numpy()
    (figure,) = task.evaluate(test, 'test').values()
    assert figure == 0.0


def relbench_like(**changes):
    r"""What of a RelBench task is looked at, for the toy database."""
    frame = pd.DataFrame(
        {
            'customer_id': [0, 1, 2],
            'timestamp': pd.to_datetime(['2021-01-01'] * 3),
            'label': [0.0, 1.0, 1.0],
        }
    )
    fields = {
        'name': 'toy',
        'kind': 'forecast',
        'task_type': SimpleNamespace(value='binary_classification'),
        'timedelta': pd.Timedelta('30 days'),
        'dataset': SimpleNamespace(
            val_timestamp=pd.Timestamp('2021-05-01'),
            test_timestamp=pd.Timestamp('2021-09-01'),
            dataset_dir=Path('does', 'not', 'exist'),
        ),
        'entity_table': 'customers',
        'entity_col': 'customer_id',
        'time_col': 'timestamp',
        'target_col': 'label',
        'frame': frame,
        'hidden_columns': list,
        **changes,
    }
    out = SimpleNamespace(**fields)
    out.get_table = lambda split, mask_input_cols: SimpleNamespace(df=out.frame)
    return out


def test_horizon():
    db = toy_database()
    assert Task.from_relbench(relbench_like(), db).horizon == pd.Timedelta('30 days')
    external = relbench_like(kind='external')
    with pytest.raises(
        ValueError, match="'toy' is external and does not say .*horizon="
    ):
        Task.from_relbench(external, db)
    given = Task.from_relbench(external, db, horizon='45 days')
    assert given.horizon == pd.Timedelta('45 days')
    with pytest.raises(ValueError, match=r'must not be negative \(got -1 days\)'):
        Task.from_relbench(external, db, horizon='-1 days')
    autocomplete = relbench_like(kind='autocomplete')
    assert Task.from_relbench(autocomplete, db).horizon == pd.Timedelta(0)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'entity_table': 'people'}, "about table 'people', which the database lacks"),
        (
            {'task_type': SimpleNamespace(value='ranking')},
            "is of type 'ranking'; binary",
        ),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Task.from_relbench(relbench_like(**changes), toy_database())


@pytest.mark.parametrize(
    ('column', 'values', 'message'),
    [
        ('label', [np.nan] * 3, r"\(column 'label'\) has no labels in its train split"),
        ('label', [0.0] * 3, 'has no positive rows in its train split'),
        ('label', [1.0, 1.0, np.nan], 'has no negative rows in its train split'),
        ('label', [0.0, 2.0, 1.0], r'neither 0 nor 1 \(got 2\)'),
        ('label', [0.0, np.inf, 1.0], 'has infinite labels'),
        ('timestamp', [pd.NaT] * 3, 'has no time in row 0'),
        ('customer_id', [0, 1, 99], "1 entities that table 'customers' lacks .*is 99"),
    ],
)
def test_label_errors(column, values, message):
    task = relbench_like()
    task.frame[column] = values
    with pytest.raises(ValueError, match=message):
        Task.from_relbench(task, toy_database())


def test_labels_that_are_not_there_are_unknown():
    task = relbench_like()
    whole = task.frame
    task.get_table = lambda split, mask_input_cols: SimpleNamespace(
        df=whole.drop(columns='label') if split == 'test' else whole
    )
    out = Task.from_relbench(task, toy_database())
    assert out.frame['label'][out.frame['split'] == 'test'].isna().all()
    with pytest.raises(
        ValueError, match="'test' of task 'toy' has no labels .*3 missin"
    ):
        out.labels_of_split('test')
    with pytest.raises(ValueError, match='got 0 missing of 0'):
        out.labels_of_split('dev')


def test_evaluation_needs_both_classes():
    task = toy_task()
    task.frame.loc[task.frame['split'] == 'test', 'label'] = 1.0
    with pytest.raises(ValueError, match=r'labels of one class alone \(got 1\)'):
        task.labels_of_split('test')
    assert task.evaluate(np.zeros(120), 'val') == {'roc_auc': 0.5}


def test_a_task_of_no_relbench_has_the_same_metrics():
    task = toy_task(kind='regression')
    labels = task.labels_of_split('val')
    assert task.evaluate(labels, 'val') == {'nmae': 0.0}
    std = task.frame['label'][task.frame['split'] == 'train'].std()
    figures = task.evaluate(labels + std, 'val')
    assert figures == {'nmae': pytest.approx(1.0)}


def test_with_rows():
    db, task = toy_database(), toy_task()
    more = task.with_rows(db, pd.Series([3, 7, 3]), '2021-12-01')
    added = more.frame[more.frame['split'] == 'predict']
    assert added['entity'].tolist() == [3, 7, 3]
    assert (added['time'] == pd.Timestamp('2021-12-01')).all()
    assert added['label'].isna().all()
    assert len(more.frame) == len(task.frame) + 3
    assert len(task.frame) == 516
    times = pd.Series(pd.to_datetime(['2021-12-01', '2021-12-02']), index=[5, 6])
    added = task.with_rows(db, [1, 2], times, split='ask').frame.iloc[-2:]
    assert added['time'].tolist() == times.tolist()
    assert set(added['split']) == {'ask'}
    with pytest.raises(
        ValueError, match="names 1 entities .* lacks \\(first is 'x'\\)"
    ):
        task.with_rows(db, ['x'], '2021-12-01')
    with pytest.raises(ValueError, match='time must be given .*NaT'):
        task.with_rows(db, [1], pd.NaT)
    store = toy_task_store()
    again = store.store.with_task(more)
    assert again.label_mean == store.label_mean
    assert again.rows_of_split('predict').tolist() == [516, 517, 518]


def test_entities_of_a_table_without_a_key_are_positions():
    db = toy_database()
    db.table_dict['orders'].pkey_col = None
    task = relbench_like(entity_table='orders')
    out = Task.from_relbench(task, db)
    assert out.frame['entity'].tolist() == [0, 1, 2] * 3
    assert 'order_id' in to_hetero(db)[0]['orders'].cell_types
