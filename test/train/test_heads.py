import numpy as np
import pytest
import torch

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.metrics import coverage
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_database, toy_task
from torch_geometric_rfm.testing.known_answer import known_answer
from torch_geometric_rfm.train import (
    TrainConfig,
    fit,
    fit_links,
    predict_links,
    predict_rows,
)
from torch_geometric_rfm.train.recommend import new_recommender

SAMPLING = {'num_cells': 8, 'own_labels': 0.0}


def trained(answer, num_steps, **kwargs):
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=32, heads=2, ff_channels=64, text_channels=64, **kwargs
    )
    config = TrainConfig(
        minutes=None, num_steps=num_steps, batch_size=64, lr=5e-3, num_evals=2
    )
    fit(model, [answer.store], config, show_progress=False, **SAMPLING)
    return model


@pytest.mark.parametrize('head', ['value', 'quantile', 'bins'])
def test_heads_of_numbers_learn_the_value_of_the_parent(head):
    answer = known_answer('parent', num_rows=6000)
    model = trained(answer, 150, number_head=head)
    score, best = answer.scores(predict_rows(model, answer.store, 'test', **SAMPLING))
    # Far below the error of the mean, sqrt(2) times that of the best.
    assert score < 1.1 * best
    if head == 'value':
        return
    levels = [0.5, 0.05, 0.95]
    ends = predict_rows(model, answer.store, 'test', levels=levels, **SAMPLING)
    label = answer.store.task.labels_of_split('test')
    share, _ = coverage(label, ends[:, 1], ends[:, 2])
    assert 0.82 < share < 0.97
    # The noise has a deviation of one: an interval of 90 % is 3.3 wide.
    assert 2.6 < np.median(ends[:, 2] - ends[:, 1]) < 4.2


def test_a_boolean_learns_the_value_of_the_parent():
    answer = known_answer('flag', num_rows=6000)
    model = trained(answer, 150)
    score, best = answer.scores(predict_rows(model, answer.store, 'test', **SAMPLING))
    assert score < 1.1 * best


def test_the_best_recommendations_are_the_partner_first():
    answer = known_answer('link', num_rows=3000)
    rows = answer.store.rows_of_split('test')
    score, best = answer.scores(answer.best[rows][:, ::-1])
    # Nine of ten take the partner; others are the second to the tenth of 31 alike.
    expected = 0.9 + 0.1 * sum(1 / (place * 31) for place in range(2, 11))
    assert abs(best - expected) < 0.03
    assert score < 0.2


def test_towers_learn_which_items_go_together():
    # Neither item occurs with the user before, so that counts say nothing.
    answer = known_answer('link', num_rows=4000)
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=32,
        heads=2,
        ff_channels=64,
        text_channels=64,
        datetime_encoding=('global', 'relative'),
        copy_attention=(),  # Towers copy nothing.
    )
    recommender = new_recommender(model, answer.store)
    config = TrainConfig(
        minutes=None, num_steps=250, batch_size=64, lr=5e-3, num_evals=1
    )
    fit_links(
        recommender, answer.store, config, show_progress=False, num_cells=6,
        history_steps=0,
    )  # fmt: skip
    rows = answer.store.rows_of_split('test')
    found, _ = predict_links(recommender, answer.store, rows, num_cells=6)
    score, best = answer.scores(found)
    assert score > 0.8 * best


def new_predictor(number_head):
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=32, num_layers=1, text_channels=384, number_head=number_head
    )
    return RelationalPredictor(model, 'hashing', num_cells=16)


def test_calibrated_intervals_are_kept_and_hold(tmp_path):
    predictor = new_predictor('quantile')
    store = predictor.open_task(toy_database(), toy_task(kind='regression'))
    before = predictor.predict_rows(store, 'val')
    levels = [0.05, 0.95]
    assert len(predictor.calibrate_rows(store).shifts) == 19
    ends = predictor.predict_rows(store, 'val', levels=levels)
    label = store.task.labels_of_split('val')
    # An untrained model knows nothing; its intervals hold all the same.
    share, _ = coverage(label, ends[:, 0] - 1e-6, ends[:, 1] + 1e-6)
    assert 0.9 <= share < 1.0
    np.testing.assert_array_equal(before, predictor.predict_rows(store, 'val'))
    frame = predictor.predict(toy_database(), toy_task(kind='regression'), interval=0.9)
    test = predictor.predict_rows(store, 'test')
    np.testing.assert_allclose(frame['prediction'], test, rtol=1e-4)
    assert (frame['lower'] <= frame['prediction']).all()
    assert (frame['prediction'] <= frame['upper']).all()

    predictor.save_pretrained(tmp_path / 'run')
    loaded = RelationalPredictor.from_pretrained(tmp_path / 'run')
    store.store.text_encoder = loaded.text_encoder
    again = loaded.predict_rows(store, 'val', levels=levels)
    np.testing.assert_allclose(again, ends, atol=1e-5)

    predictor.fit_stores([store], show_progress=False, minutes=None, num_steps=1)
    assert predictor.calibrations == {}
    with pytest.raises(ValueError, match="number_head='quantile' or 'bins'"):
        new_predictor('value').calibrate(toy_database(), toy_task(kind='regression'))


@pytest.mark.parametrize('unit', [1.0, 1000.0])
def test_counts_are_rounded_where_that_is_nearer_on_val(unit, tmp_path):
    task = toy_task(kind='regression')
    # A few units, or whole thousands, of which the median is a fraction of a unit off.
    rng = np.random.default_rng(0)
    task.frame['label'] = unit * (rng.random(len(task.frame)) < 0.2)
    predictor = new_predictor('value')
    store = predictor.open_task(toy_database(), task)
    predictor.fit_stores([store], show_progress=False, minutes=None, num_steps=4)
    before = {split: predictor.predict_rows(store, split) for split in ('val', 'test')}
    label = store.task.labels_of_split('val')
    is_nearer = (
        np.abs(np.round(before['val']) - label).sum()
        < np.abs(before['val'] - label).sum()
    )
    found = predictor.calibrate_rows(store)
    assert found.whole == is_nearer
    for split, number in before.items():
        expected = np.round(number) if is_nearer else number
        np.testing.assert_array_equal(predictor.predict_rows(store, split), expected)
    predictor.save_pretrained(tmp_path)
    loaded = RelationalPredictor.from_pretrained(tmp_path)
    assert loaded.calibrations == predictor.calibrations
    # Fractions have no whole median, wherever they are; quantiles stay as they are.
    task.frame.loc[task.frame.index[0], 'label'] = 0.5
    with pytest.raises(ValueError, match="number_head='quantile' or 'bins'"):
        predictor.calibrate_rows(store)
    assert not new_predictor('quantile').calibrate(toy_database(), task).whole
