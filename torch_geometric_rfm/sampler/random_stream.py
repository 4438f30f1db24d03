r"""Random numbers for compiled code, one independent stream a context."""

import numpy as np

from torch_geometric_rfm.sampler.compiled import compiled


@compiled
def mix(x):
    r"""The finaliser of SplitMix64: a bijection that scatters 64 bits."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def stream_state(seed, epoch, input_id):
    r"""Start of the stream of an input in an epoch."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    state = mix(np.uint64(seed) + golden)
    state = mix(state ^ (np.uint64(epoch) + golden))
    return mix(state ^ (np.uint64(input_id) + golden))


@compiled
def draw_below(state, n):
    r"""Advances :obj:`state[0]` and draws an integer in :math:`[0, n)`.

    Takes the upper bits of a 64-bit draw modulo :math:`n`; the bias is below
    :math:`n / 2^{63}`.
    """
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mix(state[0]) >> np.uint64(1)) % np.int64(n)
