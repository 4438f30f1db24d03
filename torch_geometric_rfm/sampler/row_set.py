r"""A hash set of visited rows that knows in which order they came."""

import numpy as np

from torch_geometric_rfm.sampler.compiled import compiled
from torch_geometric_rfm.sampler.random_stream import mix


@compiled
def find(keys, row):
    r"""Slot of a row in an open-addressed table: its own, or the free one."""
    capacity = len(keys)
    slot = np.int64(mix(np.uint64(row)) & np.uint64(capacity - 1))
    while keys[slot] != -1 and keys[slot] != row:
        slot = (slot + 1) & (capacity - 1)
    return slot


@compiled
def position(keys, values, row):
    r"""Position at which a row was visited, -1 if it was not."""
    slot = find(keys, row)
    return values[slot] if keys[slot] == row else np.int64(-1)


@compiled
def capacity_for(num_rows):
    r"""Slots that keep the table at most half full."""
    capacity = 16
    while capacity < 2 * num_rows:
        capacity *= 2
    return capacity
