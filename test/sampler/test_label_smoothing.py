import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.sampler import LabelSmoothing
from torch_geometric_rfm.sampler.label_smoothing import HALF_LIVES, PRIORS
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
    for half_life in (0.5, 2.0, 16.0):
        smoothing = LabelSmoothing(store, half_life, prior=0.0)
        discount = 2 ** (-1 / half_life)
        forecast = store.arrays.value[0].astype(np.float64)
        for label in store.arrays.value[1:].astype(np.float64):
            forecast += (1 - discount) * (label - forecast)
        found = smoothing.values(*last_of(store))
        np.testing.assert_allclose(found, [forecast], rtol=1e-6)


def test_choice_sees_what_was_known():
    r"""A label of a week's horizon is known a week later, and a forecast of a walk then
    is worth less; what came between has no say.
    """
    rng = np.random.default_rng(2)
    steps = rng.normal(size=(16, 80))
    steps[:, 1:] -= 0.5 * steps[:, :-1]  # What came just before says too much.
    best = []
    for horizon in (1, 7):
        store = store_of(dict(enumerate(steps.cumsum(axis=1))), horizon)
        rows, until = store.arrays.entity, store.arrays.time
        label = store.arrays.value.astype(np.float64)
        found = {}
        for half_life, prior in itertools.product(HALF_LIVES, PRIORS):
            smoothing = LabelSmoothing(store, half_life, prior)
            values = smoothing.values(rows, until)
            found[half_life, prior] = np.nanmean((values - label) ** 2)
            # The first label of an entity, and those within the horizon, have none.
            none = np.isnan(values).reshape(16, 80)
            np.testing.assert_array_equal(none.sum(axis=1), horizon)
        chosen = LabelSmoothing(store)
        best.append(found[chosen.half_life, chosen.prior])
        assert best[-1] == min(found.values())
    assert best[1] > 1.5 * best[0]


@pytest.mark.parametrize('order', ['entity', 'time'])
def test_rows_that_choose_are_of_all_entities_and_times(order):
    r"""Of more train rows than choose, every third is of the same third of what they
    are sorted by; only in the others labels follow from one to the next.
    """
    rng = np.random.default_rng(3)
    store = store_of({k: rng.normal(size=400) for k in range(30)})
    frame = store.task.frame
    half = frame['entity'] % 3 if order == 'time' else np.arange(len(frame)) % 3
    # Sorted by time a third of the rows is of every third entity.
    walks = rng.normal(size=(30, 400)).cumsum(axis=1).ravel()
    frame['label'] = np.where(half == 0, rng.normal(size=len(frame)), walks)
    frame = frame.sort_values(order, kind='stable', ignore_index=True)
    store = store.store.with_task(replace(store.task, frame=frame))
    assert len(frame) // 4096 + 1 == 3
    rows, until = store.arrays.entity, store.arrays.time
    label = store.arrays.value.astype(np.float64)
    found = {
        given: np.nanmean(
            (LabelSmoothing(store, *given).values(rows, until) - label) ** 2
        )
        for given in itertools.product(HALF_LIVES, PRIORS)
    }
    chosen = LabelSmoothing(store)
    assert found[chosen.half_life, chosen.prior] <= 1.02 * min(found.values())
    third = LabelSmoothing(store.store.with_task(replace(store.task, frame=frame[::3])))
    assert found[third.half_life, third.prior] > 1.02 * min(found.values())


def test_labels_of_later_splits_have_no_say():
    store = toy_task_store('regression')
    frame = store.task.frame.copy()
    later = frame['split'] != 'train'
    frame.loc[later, 'label'] = 1e3 * np.arange(later.sum())
    changed = store.store.with_task(replace(store.task, frame=frame))
    assert repr(LabelSmoothing(changed)) == repr(LabelSmoothing(store))


def test_nothing_known_is_no_error():
    store = store_of({0: np.ones(1), 1: np.ones(1)})
    smoothing = LabelSmoothing(store)
    assert (smoothing.half_life, smoothing.prior) == (4.0, 1.0)
    early = np.zeros(2, dtype=np.int64)
    assert np.isnan(smoothing.values(np.unique(store.arrays.entity), early)).all()


def test_classes_are_refused():
    store = toy_task_store('multiclass')
    with pytest.raises(ValueError, match=r"numbers or booleans .* \(got 'category'\)"):
        LabelSmoothing(store)


def test_arguments():
    store = toy_task_store('regression')
    for given, message in (
        ({'half_life': 0}, r"'half_life' must be positive \(got 0\)"),
        ({'half_life': float('nan')}, "'half_life' must be positive"),
        ({'prior': -1}, r"'prior' must be at least 0 \(got -1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            LabelSmoothing(store, **given)
    # What is not given is chosen for what is.
    walks = store_of({k: np.cumsum(np.ones(40)) * (k - 4) for k in range(8)})
    rows, until = walks.arrays.entity, walks.arrays.time
    label = walks.arrays.value.astype(np.float64)

    def error(smoothing):
        return np.nanmean((smoothing.values(rows, until) - label) ** 2)

    chosen = LabelSmoothing(walks, half_life=np.inf)
    assert chosen.half_life == np.inf
    best = min(error(LabelSmoothing(walks, np.inf, prior)) for prior in PRIORS)
    assert error(chosen) == pytest.approx(best)
