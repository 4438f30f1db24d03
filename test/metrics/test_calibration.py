import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torch_geometric_rfm.metrics import (
    calibration_error,
    fit_temperature,
    perfect_calibration_error,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(('temperature', 'bias'), [(3.0, -1.5), (0.4, 0.7)])
def test_what_was_done_to_logits_is_undone(temperature, bias):
    rng = np.random.default_rng(0)
    true = rng.normal(size=40_000) * 2 - 1
    label = (rng.random(40_000) < sigmoid(true)).astype(float)
    said = (true - bias) * temperature
    assert calibration_error(sigmoid(said), label) > 0.05
    found = fit_temperature(said, label)
    assert found[0] == pytest.approx(temperature, rel=0.05)
    assert found[1] == pytest.approx(bias, abs=0.05)
    probability = sigmoid(said / found[0] + found[1])
    error = calibration_error(probability, label)
    assert error < perfect_calibration_error(probability, level=0.999)


def test_classes_have_a_bias_each():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40_000, 3)) + np.array([2.0, 0.0, -2.0])
    draw = rng.random((40_000, 1))
    label = (softmax(true).cumsum(axis=1) < draw).sum(axis=1).astype(float)
    said = 2.5 * (true - np.array([1.0, -0.5, -0.5]))
    temperature, bias = fit_temperature(said, label)
    assert temperature == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(bias - bias.mean(), [1.0, -0.5, -0.5], atol=0.06)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 4))
def test_the_loss_never_grows(seed, rows, classes):
    # Whatever the rows: few, of one class alone, or all wrong.
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * rng.choice([0.01, 1.0, 30.0])
    label = rng.integers(0, classes, rows).astype(float)
    temperature, bias = fit_temperature(logits, label)
    assert 0.05 <= temperature <= 20
    assert np.isfinite(bias).all()
    rows = np.arange(rows), label.astype(int)
    before, after = (
        -np.log(np.maximum(softmax(x)[rows], 1e-300)).mean()
        for x in (logits, logits / temperature + bias)
    )
    assert after <= before + 1e-6


def test_rows_of_unknown_classes_do_not_count():
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [5.0, 0.0]])
    temperature, bias = fit_temperature(logits, np.array([0.0, 1.0, 7.0]))
    assert (temperature, *bias) == (
        fit_temperature(logits[:2], np.array([0.0, 1.0]))[0],
        *fit_temperature(logits[:2], np.array([0.0, 1.0]))[1],
    )
    temperature, bias = fit_temperature(logits, np.full(3, 7.0))
    assert temperature == 1.0
    assert bias.tolist() == [0.0, 0.0]


def test_good_probabilities_are_left_alone():
    # By chance alone a criterion of this size prefers more in one draw of twenty.
    changed = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=300) * 2 - 1
        label = (rng.random(300) < sigmoid(logits)).astype(float)
        changed.append(fit_temperature(logits, label) != (1.0, 0.0))
    assert np.mean(changed) < 0.15


def test_what_the_rows_say_is_fitted_and_no_more():
    rng = np.random.default_rng(0)
    true = rng.normal(size=3000) * 2 - 1
    label = (rng.random(3000) < sigmoid(true)).astype(float)
    temperature, bias = fit_temperature(3 * true, label)
    assert temperature == pytest.approx(3.0, rel=0.1)
    assert bias == 0.0
    temperature, bias = fit_temperature(3 * true + 3, label)
    assert temperature == pytest.approx(3.0, rel=0.1)
    assert bias == pytest.approx(-1.0, abs=0.15)


def test_a_shift_of_many_classes_is_found():
    # Two of two hundred classes occur, and one much more often than is said.
    rng = np.random.default_rng(0)
    logits = np.full((1000, 200), -9.0)
    logits[:, :2] = rng.normal(size=(1000, 2))
    true = logits[:, :2] + np.array([1.0, -1.0])
    label = (softmax(true)[:, 0] < rng.random(1000)).astype(float)
    temperature, bias = fit_temperature(logits, label)
    assert temperature == 1.0
    assert bias[0] - bias[1] == pytest.approx(2.0, abs=0.25)
