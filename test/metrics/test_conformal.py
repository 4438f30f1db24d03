import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torch_geometric_rfm.metrics import conformal_shifts, coverage, shifted_quantiles

LEVELS = np.array([0.05, 0.5, 0.95])


@given(st.integers(0, 2**32 - 1), st.integers(19, 300), st.floats(0.1, 3.0))
def test_intervals_hold_on_the_rows_they_were_fitted_on(seed, rows, spread):
    rng = np.random.default_rng(seed)
    label = rng.standard_t(2, rows)
    centre = rng.normal(size=rows)
    quantiles = centre[:, None] + spread * np.array([-1.0, 0.0, 1.0])
    shifts = conformal_shifts(quantiles, label, LEVELS)
    moved = quantiles + shifts
    # The row at the end of an interval belongs to it, but for rounding.
    assert (label < moved[:, 0] - 1e-9).sum() <= 0.05 * (rows + 1)
    assert (label < moved[:, 2] + 1e-9).sum() >= 0.95 * (rows + 1) - 1e-9
    assert (label < moved[:, 2] - 1e-9).sum() <= 0.95 * (rows + 1)


def test_intervals_hold_on_further_rows_whatever_the_model_says():
    # The guarantee is of the mean over draws of the rows fitted on: 90 to 92.5 %.
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        x = rng.normal(size=479)
        label = x + rng.standard_t(3, 479) * (1 + 0.5 * np.abs(x))
        quantiles = x[:, None] * 0.5 + np.array([-0.1, 0.0, 0.1])  # Far too narrow.
        shifts = conformal_shifts(quantiles[:79], label[:79], LEVELS)
        moved = shifted_quantiles(quantiles[79:], LEVELS, shifts, LEVELS)
        shares.append(coverage(label[79:], moved[:, 0], moved[:, 2])[0])
    error = np.std(shares) / np.sqrt(len(shares))
    assert 0.9 - 4 * error <= np.mean(shares) <= 0.9 + 2 / 80 + 4 * error


def test_quantiles_of_a_good_model_stay_where_they_are():
    rng = np.random.default_rng(0)
    label = rng.random(40_000)
    quantiles = np.tile(LEVELS, (40_000, 1))
    np.testing.assert_allclose(
        conformal_shifts(quantiles, label, LEVELS), 0.0, atol=0.01
    )


def test_shifted_quantiles_do_not_cross_and_keep_their_order():
    quantiles = np.array([[0.0, 1.0, 2.0]])
    levels = np.array([0.5, 0.05, 0.95])
    moved = shifted_quantiles(quantiles, levels, np.array([9.0, 0.0, -9.0]), LEVELS)
    # The median stays, and bounds the others.
    assert moved.tolist() == [[0.0, 0.0, 0.0]]
    ends = shifted_quantiles(
        quantiles[:, 1:], levels[1:], np.array([9.0, 0.0, -9.0]), LEVELS
    )
    assert ends.tolist() == [[-7.0, 10.0]]


def test_too_few_rows_are_refused():
    label = np.arange(19.0)
    conformal_shifts(np.zeros((19, 3)), label, LEVELS)
    with pytest.raises(ValueError, match=r'at least 19 labelled rows .* \(got 18\)'):
        conformal_shifts(np.zeros((18, 3)), label[:18], LEVELS)
