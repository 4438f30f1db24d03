from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.sampler import LabelSmoothing
from torch_geometric_rfm.testing import toy_task_store

DAY = 86_400


def store_of(series, horizon=1):
    r"""A regression task of one label a day and entity."""
    store = toy_task_store('regression')
    days = len(next(iter(series.values())))
    frame = pd.DataFrame(
        {
            'entity': np.repeat(list(series), days),
            'time': np.tile(pd.to_datetime(np.arange(days), unit='D'), len(series)),
            'label': np.concatenate(list(series.values())),
            'split': 'train',
        }
    )
    task = replace(store.task, frame=frame, horizon=pd.Timedelta(f'{horizon}D'))
    return store.store.with_task(task)


def last_of(store):
    entity = np.unique(store.arrays.entity)
    return entity, np.full(entity.size, store.arrays.time.max() + 10 * DAY)


def test_walks_are_followed_and_noise_is_averaged():
    rng = np.random.default_rng(0)
    walks = {k: rng.normal(size=60).cumsum() for k in range(8)}
    store = store_of(walks)
    smoothing = LabelSmoothing(store)
    assert smoothing.half_life == 0.5
    assert smoothing.prior == 0.1
    last = [(walk[-1] - store.label_mean) / store.label_std for walk in walks.values()]
    np.testing.assert_allclose(smoothing.values(*last_of(store)), last, atol=0.3)
    # Levels under noise: all labels count the same, as the best linear forecast of
    # such a series has it (the variance of the noise over that of the levels).
    level = rng.normal(size=30)
    level = (level - level.mean()) / level.std()
    levels = {k: level[k] + rng.normal(size=120) for k in range(30)}
    smoothing = LabelSmoothing(store_of(levels))
    assert smoothing.half_life == np.inf
    assert smoothing.prior == 1.0
    # Noise alone: as much of the mean train label as there may be.
    noise = {k: rng.normal(size=120) for k in range(30)}
    assert LabelSmoothing(store_of(noise)).prior == 10.0


def test_equals_the_recursion():
    r"""Without a prior it is Brown's: a share of the way from forecast to label."""
    rng = np.random.default_rng(1)
    walk = rng.normal(size=500).cumsum()
    store = store_of({0: walk})
    smoothing = LabelSmoothing(store)
    smoothing.prior = 0.0
    for half_life in (0.5, 2.0, 16.0):
        smoothing.half_life = half_life
        discount = 2 ** (-1 / half_life)
        forecast = store.arrays.value[0].astype(np.float64)
        for label in store.arrays.value[1:].astype(np.float64):
            forecast += (1 - discount) * (label - forecast)
        found = smoothing.values(*last_of(store))
        np.testing.assert_allclose(found, [forecast], rtol=1e-6)


@pytest.mark.parametrize('horizon', [1, 7])
def test_choice_sees_what_was_known(horizon):
    r"""A label of a week's horizon is known a week later: the forecast of a walk then
    is worth less, whatever came between.
    """
    rng = np.random.default_rng(2)
    steps = rng.normal(size=(16, 80))
    steps[:, 1:] -= 0.5 * steps[:, :-1]  # What came just before says too much.
    store = store_of(dict(enumerate(steps.cumsum(axis=1))), horizon)
    rows, until = store.arrays.entity, store.arrays.time
    smoothing = LabelSmoothing(store)
    label = store.arrays.value.astype(np.float64)

    def error(half_life, prior):
        smoothing.half_life, smoothing.prior = half_life, prior
        found = smoothing.values(rows, until)
        return np.nanmean((found - label) ** 2)

    chosen = smoothing.half_life, smoothing.prior
    best = error(*chosen)
    assert best <= min(error(h, p) for h in (0.5, 2.0, np.inf) for p in (0.1, 3.0))
    # The first label of an entity, and those within the horizon, have none.
    smoothing.half_life, smoothing.prior = chosen
    none = np.isnan(smoothing.values(rows, until)).reshape(16, 80)
    np.testing.assert_array_equal(none.sum(axis=1), horizon)


def test_labels_of_other_splits_have_no_say():
    store = toy_task_store('regression')
    frame = store.task.frame.copy()
    later = frame['split'] != 'train'
    frame.loc[later, 'label'] = 1e3 * np.arange(later.sum())
    changed = store.store.with_task(replace(store.task, frame=frame))
    assert repr(LabelSmoothing(changed)) == repr(LabelSmoothing(store))


def test_nothing_known_is_no_error():
    store = store_of({0: np.ones(1), 1: np.ones(1)})
    smoothing = LabelSmoothing(store)
    assert (smoothing.half_life, smoothing.prior) == (np.inf, 10.0)
    early = np.zeros(2, dtype=np.int64)
    assert np.isnan(smoothing.values(np.unique(store.arrays.entity), early)).all()
