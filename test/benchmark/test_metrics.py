import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.relbench.bootstrap import (
    is_better,
    resampled,
    resampled_mae,
    resampled_roc_auc,
    resamples,
)
from benchmark.relbench.metrics import score


def test_binary_metrics():
    label = np.array([0.0, 0.0, 1.0, 1.0])
    figures = score('binary_classification', label, np.array([0.1, 0.6, 0.6, 0.9]), 1.0)
    assert list(figures) == [
        'roc_auc',
        'average_precision',
        'accuracy',
        'log_loss',
        'ece',
    ]
    assert figures['roc_auc'] == pytest.approx(3.5 / 4)
    assert figures['accuracy'] == 0.75
    # Bins of .1, of the two at .6 (half of them true), and of .9:
    assert figures['ece'] == pytest.approx((0.1 + 2 * 0.1 + 0.1) / 4, abs=1e-6)


def test_regression_metrics():
    label, prediction = np.array([0.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.0])
    figures = score('regression', label, prediction, 2.0)
    assert figures['mae'] == pytest.approx(1.0)
    assert figures['nmae'] == pytest.approx(0.5)
    assert figures['rmse'] == pytest.approx(np.sqrt(5 / 3))
    assert figures['r2'] == pytest.approx(1 - 5 / 8)


def test_predictions_that_are_none():
    label = np.array([0.0, 1.0])
    with pytest.raises(ValueError, match=r'finite \(got nan'):
        score('regression', label, np.array([np.nan, 1.0]), 1.0)
    with pytest.raises(ValueError, match='probabilities'):
        score('binary_classification', label, np.array([0.5, 1.5]), 1.0)
    with pytest.raises(ValueError, match=r'got shapes \(1,\) for \(2,\)'):
        score('regression', label, np.zeros(1), 1.0)


def test_resampled_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    label = (rng.random(60) < 0.4).astype(float)
    prediction = np.round(label * 0.3 + rng.random(60), 1)  # With ties.
    weights = resamples(np.arange(60), count=20)
    assert (weights.sum(axis=1) == 60).all()
    expected = [roc_auc_score(label, prediction, sample_weight=w) for w in weights]
    got = resampled_roc_auc(label, prediction, weights)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    expected = [np.average(np.abs(label - prediction), weights=w) for w in weights]
    np.testing.assert_allclose(resampled_mae(label, prediction, weights), expected)


def test_a_resample_of_one_class_has_no_roc_auc():
    weights = np.array([[2.0, 0.0], [1.0, 1.0]])
    out = resampled_roc_auc(np.array([0.0, 1.0]), np.array([0.2, 0.7]), weights)
    assert np.isnan(out[0])
    assert out[1] == 1.0


def test_significance():
    rng = np.random.default_rng(1)
    label = rng.normal(size=400)
    near, far = label + rng.normal(size=400), label + 3 * rng.normal(size=400)
    twin = near + 1e-3 * rng.normal(size=400)
    weights = resamples(np.arange(400))
    curves = [resampled('regression', label, [p], weights) for p in (near, far, twin)]
    assert is_better(curves[0], curves[1])
    assert not is_better(curves[1], curves[0])
    assert not is_better(curves[0], curves[2])
    both = resampled('regression', label, [near, far], weights)
    # A resample draws one of the seeds twice, or both.
    means = [curves[0], curves[1], (curves[0] + curves[1]) / 2]
    assert (np.isclose(both, means).any(axis=0)).all()
    assert both.mean() == pytest.approx(means[2].mean(), rel=0.05)


def test_entities_are_drawn_with_all_of_their_rows():
    entity = np.array([7, 3, 7, 7, 3, 9])
    weights = resamples(entity, count=500)
    for rows in ([0, 2, 3], [1, 4]):
        assert (weights[:, rows] == weights[:, rows[:1]]).all()
    assert weights[:, [0, 1, 5]].sum(axis=1) == pytest.approx(3)
    # Rows that depend on each other say less: what is better by rows is not by two
    # entities, of which the other model is better on one.
    label = np.tile([0.0, 10.0], 200)
    near, far = label + np.tile([0.1, 2.0], 200), label + np.tile([1.0, 1.5], 200)
    for entity, better in ((np.arange(400), True), (np.tile([0, 1], 200), False)):
        curves = [
            resampled('regression', label, [p], resamples(entity)) for p in (near, far)
        ]
        assert is_better(*curves) == better


def test_multiclass_metrics():
    label = np.array([0.0, 1.0, 2.0, 3.0])  # Nobody can predict the last.
    prediction = np.array([[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0, 0, 1.0], [1.0, 0, 0]])
    figures = score('multiclass_classification', label, prediction, 1.0)
    assert figures['accuracy'] == 0.5
    eps = np.finfo(np.float64).eps
    expected = -np.log([0.8, 0.4, 1.0, eps]).mean()
    assert figures['log_loss'] == pytest.approx(expected)
    # Classes 0 (one right of three), 2 (right), and 1 and 3 (never):
    assert figures['macro_f1'] == pytest.approx((0.5 + 0 + 1 + 0) / 4)
    # Sure by .8 (right), .5 (wrong), and twice by 1 (right once):
    assert figures['ece'] == pytest.approx((0.2 + 0.5 + 2 * 0.5) / 4, abs=1e-6)
    assert is_better(
        *(
            resampled(
                'multiclass_classification',
                np.tile(label, 50),
                [p],
                resamples(np.arange(200)),
            )
            for p in (np.tile(prediction, (50, 1)), np.tile([[0, 1.0, 0]], (200, 1)))
        )
    )
