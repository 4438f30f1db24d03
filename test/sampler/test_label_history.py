import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.data.cell_data import concatenate
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.nn.copy_attention import copy_edges
from torch_geometric_rfm.sampler import EntityHistory, LabelHistory
from torch_geometric_rfm.sampler.label_smoothing import HALF_LIVES, PRIORS
from torch_geometric_rfm.testing import toy_task_store

NAMES = [
    'mean amount of customer-amount',
    'mean amount of customer-amount, smoothed',
    'mean amount of customer-amount of all lately',
    'number of known customer-amount',
]


def mean(values):
    return float(np.mean(values)) if len(values) else float('nan')


def smooth(labels, half_life, prior):
    if not labels.size:
        return float('nan')
    weight = np.array([2 ** (-i / half_life) for i in range(labels.size)])[::-1]
    return weight @ labels / (prior + weight.sum())


def oracle(store, rows, until):
    r"""By a plain loop over the task table."""
    frame = store.task.frame
    time = frame['time'].astype('datetime64[s]').astype(np.int64).to_numpy()
    entity, score = frame['entity'].to_numpy(), store.arrays.value.astype(np.float64)
    exact = (frame['label'].to_numpy() - store.label_mean) / store.label_std
    horizon = store.arrays.horizon

    def known(until):
        return (time < until) & (time + horizon <= until) & ~np.isnan(score)

    def labels(row, limit):
        own = np.flatnonzero(known(limit) & (entity == row))
        return own[np.argsort(time[own], kind='stable')]

    train = np.flatnonzero((frame['split'] == 'train').to_numpy() & ~np.isnan(score))
    seen = [(exact[labels(entity[i], time[i])], exact[i]) for i in train]
    seen = [(own, label) for own, label in seen if own.size]
    smoothing = min(
        itertools.product(HALF_LIVES, PRIORS),
        key=lambda given: sum((smooth(own, *given) - y) ** 2 for own, y in seen),
    )
    out = []
    for row, limit in zip(rows - store.arrays.first_entity, until):
        own = labels(row, limit)
        lately = score[known(limit) & ~known(limit - 4 * horizon)]
        smoothed = smooth(exact[own], *smoothing)
        out.append([mean(score[own]), smoothed, mean(lately), np.log1p(own.size)])
    return np.array(out)


@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_equals_a_plain_loop(kind):
    store = toy_task_store(kind)
    frame = store.task.frame.copy()
    frame.loc[::5, 'label'] = np.nan
    frame.loc[frame['entity'] == 4, 'label'] = np.nan
    # Two labels of an entity may be of one time, and a horizon of half a second.
    frame.loc[::9, 'time'] = frame['time'].min()
    horizon = store.task.horizon + pd.Timedelta('0.5s')
    task = replace(store.task, frame=frame, horizon=horizon)
    store = store.store.with_task(task)
    history = LabelHistory(store)
    rng = np.random.default_rng(0)
    time = store.arrays.time
    rows = store.arrays.entity[rng.integers(0, len(time), 300)]
    until = rng.integers(time.min() - 10, time.max() + 4 * store.arrays.horizon, 300)
    until[:100] = rng.choice(time, 100)  # Of exactly a label's time, or its end.
    until[100:200] = rng.choice(time, 100) + store.arrays.horizon
    found, expected = history.values(rows, until), oracle(store, rows, until)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.isnan(found[:, 0]).any()
    assert (np.isfinite(found).mean(axis=0) > 0.3).all()


def test_unknown_and_later_labels_change_nothing():
    store = toy_task_store('regression')
    rows = store.rows_of_split('val')
    entity, until = store.arrays.entity[rows], store.arrays.time[rows]
    before = LabelHistory(store).values(entity, until)
    frame = store.task.frame.copy()
    # Labels of val are known to none of the first rows of val, that of a row itself
    # least of all; the statistics of labels are of train rows.
    frame.loc[frame['split'] != 'train', 'label'] = 1e6
    after = LabelHistory(store.store.with_task(replace(store.task, frame=frame)))
    first = until == until.min()
    found = after.values(entity, until)
    np.testing.assert_array_equal(before[first], found[first])
    assert (before[~first, 2] != found[~first, 2]).any()
    changed = store.store.with_task(replace(store.task, frame=frame))
    one, other = (EntityHistory(s, 20, 64) for s in (store, changed))
    assert one.names == other.names
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.std, other.std)
    assert torch.equal(one.column_quantiles, other.column_quantiles)


def test_names_say_what_can_be_known():
    store = toy_task_store('regression')
    assert LabelHistory(store).names == NAMES
    assert LabelHistory(toy_task_store('multiclass')).names == []
    once = replace(
        store.task, frame=store.task.frame.drop_duplicates('entity', keep='last')
    )
    assert LabelHistory(store.store.with_task(once)).names == NAMES[2:3]
    # Whatever labels follow, and whether they are there.
    train = store.task.frame['split'] == 'train'
    first = store.task.frame[train].drop_duplicates('entity')
    later = store.task.frame[~train]
    for frame in (first, pd.concat([first, later], ignore_index=True)):
        once = replace(store.task, frame=frame)
        assert LabelHistory(store.store.with_task(once)).names == NAMES[2:3]
    at_once = replace(store.task, horizon=pd.Timedelta(0))
    assert LabelHistory(store.store.with_task(at_once)).names == [*NAMES[:2], NAMES[3]]


def test_strict_is_of_rows_and_not_of_labels():
    store = toy_task_store('regression')
    rows = store.rows_of_split('test')
    entity, until = store.arrays.entity[rows], store.arrays.time[rows]
    found = []
    for strict in (False, True):
        history = EntityHistory(store, 4, 64, strict)
        found.append(history.values(entity, until))
    np.testing.assert_array_equal(*found)


def test_cells_of_a_context():
    store = toy_task_store('regression')
    for protocol in ('rolling', 'frozen'):
        loader = ContextLoader(
            store,
            input_nodes='test',
            protocol=protocol,
            num_cells=40,
            history=0.3,
            batch_size=90,
        )
        cells = next(iter(loader))
        rows = store.rows_of_split('test')
        until = store.visible_until(rows, protocol)
        history = EntityHistory(store, 11, 64)
        entity = store.arrays.entity[rows]
        expected = oracle(store, entity, until)
        # Means are in the unit of labels, as those are that a context shows.
        assert history.is_label_mean.nonzero()[0].tolist() == [0, 1, 2]
        expected[:, 3] = (expected[:, 3] - history.mean[3]) / history.std[3]
        for k, name in enumerate(NAMES):
            column = cells.column_names.index(name)
            at = (cells.column == column).nonzero().view(-1)
            found = torch.full((len(rows),), float('nan'))
            found[cells.batch[at]] = cells.value[at]
            np.testing.assert_allclose(found.numpy(), expected[:, k], atol=1e-4)
            assert (cells.cell_type[at] == CellType.NUMBER).all()
            # They belong to the row of the seed.
            assert torch.equal(cells.row[at], cells.row[cells.ptr[cells.batch[at]]])


@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_labels_may_be_copied_from_their_means(kind):
    store = toy_task_store(kind)
    arguments = {'num_cells': 40, 'batch_size': 32, 'history': 0.3, 'own_labels': 0.2}
    cells = next(iter(ContextLoader(store, input_nodes='val', **arguments)))
    other = next(iter(ContextLoader(store, num_cells=40, batch_size=8)))
    label = cells.column_names.index(f'{store.task.target_col} of {store.task.name}')
    means = [name for name in LabelHistory(store).names if name.startswith('mean')]
    for batch in (cells, concatenate([cells, other]), concatenate([other, cells])):
        index = batch.mask.nonzero().view(-1)
        query, key = copy_edges(batch, index, ('number', 'boolean'))
        assert torch.equal(batch.batch[index[query]], batch.batch[key])
        found = [batch.phrases[column] for column in batch.column[key].tolist()]
        assert set(found) == {cells.column_names[label], *means}
        # As many as there are to see, in the unit of the labels themselves.
        shown = [batch.phrases[column] for column in batch.column.tolist()]
        assert found.count(means[0]) == shown.count(means[0]) > 20
    # All other columns, of summaries too, keep to themselves.
    copied = [cells.column_names.index(name) for name in means]
    own = [i for i in range(len(cells.column_names)) if i not in copied]
    assert cells.copy_column[own].tolist() == own
    assert cells.copy_column[copied].tolist() == [label] * len(means)
