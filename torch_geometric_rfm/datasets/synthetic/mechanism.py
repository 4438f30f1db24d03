r"""Random causal mechanisms: how values follow from their causes."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def standardise(x: Array) -> Array:
    r"""Columns of mean 0 and standard deviation 1; constant ones become 0."""
    if len(x) == 0:
        return x
    centred = x - x.mean(axis=0)
    std = centred.std(axis=0)
    return centred / np.where(std > 1e-9, std, 1.0)


def network(causes: Array, num_outputs: int, rng: np.random.Generator) -> Array:
    r"""A random network of one hidden layer.

    Args:
        causes: :obj:`[rows, causes]`.
        num_outputs: Number of effects.
        rng: The source of randomness.

    Returns:
        :obj:`[rows, num_outputs]`.
    """
    width, num_causes = int(rng.integers(6, 17)), causes.shape[1]
    weight = rng.normal(0, 1.2 / np.sqrt(num_causes), (num_causes, width))
    hidden = causes @ weight + rng.normal(0, 0.5, width)
    activation = rng.integers(0, 3)
    if activation == 0:
        hidden = np.tanh(hidden)
    elif activation == 1:
        hidden = np.maximum(hidden, 0)
    else:
        hidden = np.sin(hidden)
    return hidden @ rng.normal(0, 1, (width, num_outputs))


def trees(causes: Array, num_outputs: int, rng: np.random.Generator) -> Array:
    r"""A few random trees whose splits are shared by a level; see
    :func:`network`.
    """
    out = np.zeros((len(causes), num_outputs))
    for _ in range(rng.integers(2, 6)):
        depth = int(rng.integers(1, 4))
        leaf = np.zeros(len(causes), dtype=np.int64)
        for level in range(depth):
            cause = causes[:, rng.integers(causes.shape[1])]
            at = cause[rng.integers(len(cause))] if len(cause) else 0.0
            leaf |= (cause > at).astype(np.int64) << level
        out += rng.normal(0, 1, (2**depth, num_outputs))[leaf]
    return out


def linear(causes: Array, num_outputs: int, rng: np.random.Generator) -> Array:
    r"""A random linear map; see :func:`network`."""
    return causes @ rng.normal(0, 1, (causes.shape[1], num_outputs))


MECHANISMS = {'network': network, 'trees': trees, 'linear': linear}


def draw_effects(
    causes: Array, num_outputs: int, noise: float, rng: np.random.Generator
) -> Array:
    r"""The effects of causes under a random mechanism, of which noise makes up a
    share of the variance.

    Args:
        causes: :obj:`[rows, causes]`.
        num_outputs: Number of effects.
        noise: Share of the variance that no cause explains.
        rng: The source of randomness.

    Returns:
        :obj:`[rows, num_outputs]`, standardised.
    """
    kind = rng.choice(['network', 'trees', 'linear'], p=[0.45, 0.35, 0.2])
    effects = standardise(MECHANISMS[kind](causes, num_outputs, rng))
    own = rng.normal(0, 1, effects.shape)
    return standardise(np.sqrt(1 - noise) * effects + np.sqrt(noise) * own)
