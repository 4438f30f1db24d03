from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.data import (
    CellStore,
    CellType,
    Task,
    load_database,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.metrics import baselines_of, evaluate_baselines
from torch_geometric_rfm.metrics.baselines import entity_mean, last_labels
from torch_geometric_rfm.sampler import LabelSmoothing
from torch_geometric_rfm.testing import toy_database, toy_task, toy_task_store

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'


def brute_force(store, name, rows, protocol):
    r"""Predictions for some rows, each by looking at every label."""
    task, smoothing = store.task, LabelSmoothing(store)
    frame = task.frame
    entity, split, label = (frame[c].tolist() for c in ('entity', 'split', 'label'))
    time = [moment.timestamp() for moment in frame['time']]
    horizon = task.horizon.total_seconds()
    labelled = [i for i in range(len(label)) if label[i] == label[i]]
    train = [label[i] for i in labelled if split[i] == 'train']
    median = name == 'global_median' or (
        name != 'global_mean' and task.cell_type == CellType.NUMBER
    )
    constant = np.median(train) if median else np.mean(train)
    if name.startswith('global'):
        return [constant] * len(rows)
    out = []
    for row in rows:
        until = time[row]
        if protocol == 'frozen':
            until = min(until, task.cutoffs[split[row]].timestamp())
        known = sorted(
            (time[i], label[i])
            for i in labelled
            if entity[i] == entity[row]
            and (name != 'entity_mean_train' or split[i] == 'train')
            and time[i] < until
            and time[i] + horizon <= until
        )
        values = [value for _, value in known]
        if name == 'last_labels':
            values = values[-3:]
        weight = [1.0] * len(values)
        if name == 'smoothed_labels' and values:
            places = range(len(values))
            weight = [2 ** (-place / smoothing.half_life) for place in places][::-1]
            values, weight = [*values, np.mean(train)], [*weight, smoothing.prior]
        out.append(np.average(values, weights=weight) if values else constant)
    return out


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_baselines_agree_with_brute_force(kind, split, protocol):
    task = toy_task(kind=kind)
    task.frame.loc[::7, 'label'] = np.nan
    store = toy_task_store().store.with_task(task)
    rows = store.rows_of_split(split)[::9]
    until = store.visible_until(rows, protocol)
    for name, baseline in baselines_of(task).items():
        expected = brute_force(store, name, rows, protocol)
        np.testing.assert_allclose(baseline(store, rows, until), expected, atol=1e-9)


@pytest.mark.parametrize('horizon', ['0 days', '30 days', '31 days'])
def test_a_label_counts_from_its_horizon_on(horizon):
    frame = pd.DataFrame(
        {
            'entity': 0,
            'time': pd.to_datetime(['2020-01-01', '2020-01-31', '2020-03-01']),
            'label': [1.0, 2.0, 4.0],
            'split': ['train', 'train', 'val'],
        }
    )
    task = toy_task(kind='regression')
    task.frame, task.horizon = frame, pd.Timedelta(horizon)
    store = toy_task_store().store.with_task(task)
    rows = np.arange(3)
    out = entity_mean(store, rows, store.visible_until(rows, 'rolling'))
    late = horizon == '31 days'
    assert out.tolist() == [1.5, 1.5 if late else 1.0, 1.0 if late else 1.5]


def test_huge_labels_of_one_entity_do_not_spoil_another():
    task = toy_task(kind='regression')
    first = task.frame['entity'] == task.frame['entity'].min()
    task.frame.loc[first, 'label'] = 1e9
    store = toy_task_store().store.with_task(task)
    rows = store.rows_of_split('test')[1:4]
    out = last_labels(store, rows, store.visible_until(rows, 'rolling'))
    expected = brute_force(store, 'last_labels', rows, 'rolling')
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_equal_means_tie():
    # 1/3 of three labels and 2/6 of six rank the same, whatever came before them.
    label = [0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 1]
    frame = pd.DataFrame({'entity': [0] * 3 + [1] * 6 + [2] * 2, 'label': label})
    frame['time'] = pd.date_range('2020-01-01', periods=11)
    frame['split'] = 'train'
    task = toy_task()
    task.frame, task.horizon = frame.astype({'label': float}), pd.Timedelta(0)
    store = toy_task_store().store.with_task(task)
    late = np.full(2, 2**40)
    first, second = entity_mean(store, np.array([0, 3]), late)
    assert first == second == 1 / 3


def test_entities_without_labels_get_a_constant():
    for kind, constant in (('binary', 'mean'), ('regression', 'median')):
        store = toy_task_store(kind=kind)
        never = np.full(1, np.iinfo(np.int64).min // 2)
        train = store.task.frame.query("split == 'train'")['label']
        out = entity_mean(store, store.rows_of_split('train')[:1], never)
        assert out.tolist() == [pytest.approx(train.agg(constant))]


def test_baselines_of_a_task():
    assert list(baselines_of(toy_task())) == [
        'global_mean',
        'entity_mean_train',
        'entity_mean',
        'last_labels',
        'smoothed_labels',
    ]
    assert 'global_median' in baselines_of(toy_task(kind='regression'))


def test_unknown_split_and_protocol():
    store = toy_task_store()
    with pytest.raises(ValueError, match="no rows in split 'dev'"):
        evaluate_baselines(store, 'dev')
    with pytest.raises(ValueError, match=r"'frozen' \(got 'melting'\)"):
        evaluate_baselines(store, 'val', 'melting')


@pytest.fixture(scope='module')
def rel_f1():
    db = load_database(str(REL_F1))
    return db, CellStore.from_hetero(
        *to_hetero(db), text_encoder='hashing', cache_dir=False
    )


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('driver-dnf', (0.573, 0.779, 0.793, 0.826)),
        ('driver-top3', (0.646, 0.863, 0.859, 0.902)),
        ('driver-position', (0.618, 0.468, 0.387, 0.4)),
    ],
)
def test_rel_f1(rel_f1, name, expected):
    db, store = rel_f1
    task = Task.from_relbench(load_task(str(REL_F1), name), db)
    store = store.with_task(task)
    rolling = evaluate_baselines(store, 'test')
    (metric,) = rolling['global_mean']
    scores = [rolling[baseline][metric] for baseline in list(baselines_of(task))[-4:]]
    assert scores == pytest.approx(expected, abs=5.1e-4)
    frozen = evaluate_baselines(store, 'test', 'frozen')
    # Train labels are known in both protocols alike, later ones only in one.
    assert frozen['entity_mean_train'] == rolling['entity_mean_train']
    assert frozen['entity_mean'] != rolling['entity_mean']
    rows = store.rows_of_split('val')[::9]
    until = store.visible_until(rows, 'rolling')
    for baseline in ('entity_mean', 'last_labels'):
        out = baselines_of(task)[baseline](store, rows, until)
        expected = brute_force(store, baseline, rows, 'rolling')
        np.testing.assert_allclose(out, expected, atol=1e-9)


def test_toy_database_is_unchanged_by_baselines():
    db = toy_database()
    before = {name: table.df.copy() for name, table in db.table_dict.items()}
    store = toy_task_store(db=db)
    labels = store.task.frame.copy()
    for baseline in baselines_of(store.task).values():
        rows = store.rows_of_split('val')
        baseline(store, rows, store.visible_until(rows, 'rolling'))
    pd.testing.assert_frame_equal(store.task.frame, labels)
    for name, frame in before.items():
        pd.testing.assert_frame_equal(db.table_dict[name].df, frame)


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
def test_all_rows_of_a_split_are_the_split(protocol):
    store = toy_task_store()
    rows = store.rows_of_split('test')
    whole = evaluate_baselines(store, 'test', protocol)
    given = evaluate_baselines(store, 'test', protocol, rows)
    for name, figures in whole.items():
        assert given[name] == pytest.approx(figures)
    some = evaluate_baselines(store, 'test', protocol, rows[: len(rows) // 2])
    assert some['entity_mean'] != given['entity_mean']
