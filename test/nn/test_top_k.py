import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.nn import exact_top_k


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 50))
def test_top_k_is_exact(seed, num_destinations, chunk_size):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, num_destinations + 1))
    num_sources, num_pairs = int(rng.integers(1, 5)), int(rng.integers(0, 60))
    # Small whole numbers, so that scores tie and sums are exact.
    u = rng.integers(-2, 3, (num_sources, 3)).astype(np.float64)
    v = rng.integers(-2, 3, (num_destinations, 3)).astype(np.float64)
    b = rng.integers(-2, 3, num_destinations).astype(np.float64)
    b[rng.random(num_destinations) < 0.2] = -np.inf
    pair = np.stack(
        [
            rng.integers(0, num_sources, num_pairs),
            rng.integers(0, num_destinations, num_pairs),
        ]
    )
    p = rng.integers(-3, 4, num_pairs).astype(np.float64)
    full = u @ v.T + b
    np.add.at(full, tuple(pair), p)
    expected = np.argsort(-full, axis=1, kind='stable')[:, :k]
    best = np.take_along_axis(full, expected, axis=1)

    index, score = exact_top_k(
        *map(torch.from_numpy, (u, v)), k, *map(torch.from_numpy, (b, pair, p)),
        chunk_size=chunk_size,
    )  # fmt: skip
    assert np.array_equal(score.numpy(), best)
    assert np.array_equal(index.numpy(), np.where(best == -np.inf, -1, expected))


def test_k_is_at_most_the_number_of_destinations():
    u, v = torch.randn(2, 4), torch.randn(3, 4)
    for k in (0, 4):
        with pytest.raises(ValueError, match=rf"'k' must lie in \[1, 3\].*\(got {k}\)"):
            exact_top_k(u, v, k)
    with pytest.raises(ValueError, match='go together'):
        exact_top_k(u, v, 1, pair_score=torch.zeros(1))
