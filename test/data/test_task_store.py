import numpy as np
import pandas as pd
import pytest
import torch

from torch_geometric_rfm.testing import toy_task, toy_task_store


def changed(**changes):
    task = toy_task(kind='regression')
    return type(task)(**{**task.__dict__, **changes})


@pytest.fixture(scope='module')
def store():
    return toy_task_store('regression')


def test_label_statistics_come_from_train_rows(store):
    frame = store.task.frame
    train = frame['label'][frame['split'] == 'train']
    assert store.label_mean == pytest.approx(train.mean())
    assert store.label_std == pytest.approx(train.std())
    other = frame.copy()
    other.loc[other['split'] != 'train', 'label'] = 1e9
    again = store.store.with_task(changed(frame=other))
    assert (again.label_mean, again.label_std) == (store.label_mean, store.label_std)
    assert again.target.isfinite().all()
    back = store.denormalise(store.target.double().numpy())
    assert np.allclose(back, frame['label'], atol=1e-4)


def test_binary():
    store = toy_task_store()
    assert torch.equal(store.target, torch.tensor(store.task.frame['label']).float())
    assert store.denormalise(np.array([0.0])).tolist() == [0.5]


def test_names(store):
    assert store.table_names[-1] == 'customer-amount'
    assert store.column_names[-2:] == [
        'amount of customer-amount',
        'timestamp of customer-amount',
    ]
    assert store.fkey_names[-1] == 'customer-amount.customer_id'
    assert store.column_embedding.size() == (12, 384)
    assert len(store.store.column_names) == 10
    assert repr(store) == f"TaskStore('customer-amount', {store.store})"


def test_visible_until(store):
    rows = np.arange(len(store.task.frame))
    rolling = store.visible_until(rows, 'rolling')
    assert np.array_equal(rolling, store.arrays.time)
    frozen = store.visible_until(rows, 'frozen')
    train = store.rows_of_split('train')
    assert np.array_equal(frozen[train], rolling[train])
    for split, cutoff in store.task.cutoffs.items():
        assert frozen[store.rows_of_split(split)].max() <= cutoff.timestamp()


def test_labels_lie_in_time_order(store):
    arrays = store.arrays
    assert (np.diff(arrays.time[arrays.label_row]) >= 0).all()
    for entity in range(30):
        rows = arrays.own_row[arrays.own_start[entity] : arrays.own_start[entity + 1]]
        assert (arrays.entity[rows] - arrays.first_entity == entity).all()
        assert (np.diff(arrays.time[rows]) >= 0).all()


def test_unknown_labels_are_nobodys_past(store):
    frame = store.task.frame.copy()
    frame.loc[::2, 'label'] = np.nan
    arrays = store.store.with_task(changed(frame=frame)).arrays
    assert (arrays.own_row % 2 == 1).all()
    assert len(arrays.label_row) == len(frame) // 2


def test_a_horizon_is_rounded_up(store):
    horizon = pd.Timedelta('1.5 s')
    assert store.store.with_task(changed(horizon=horizon)).arrays.horizon == 2


def test_hidden_columns(store):
    task = changed(hidden_columns=[('orders', 'note'), ('orders', 'not_there')])
    hidden = store.store.with_task(task).arrays.hidden
    names = [store.store.column_names[i] for i in np.flatnonzero(hidden)]
    assert names == ['note of orders']
    task = changed(hidden_columns=[('orders', 'customer_id')])
    with pytest.raises(ValueError, match="hides the foreign key 'customer_id' of tabl"):
        store.store.with_task(task)


def test_errors(store):
    with pytest.raises(ValueError, match="about table 'people', which the store lacks"):
        store.store.with_task(changed(entity_table='people'))
    frame = store.task.frame.copy()
    frame.loc[3, 'time'] = pd.NaT
    with pytest.raises(ValueError, match='has rows without a time'):
        store.store.with_task(changed(frame=frame))
    frame = store.task.frame.copy()
    for entity in (-1, 30):
        frame.loc[3, 'entity'] = entity
        with pytest.raises(ValueError, match=r"table 'customers', in \[0, 30\)"):
            store.store.with_task(changed(frame=frame))
