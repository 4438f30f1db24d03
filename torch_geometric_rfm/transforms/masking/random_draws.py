import torch
from torch import Tensor

RATE, PICK, CELL, ROW, LINK, ROUND, TIE, CORRUPTION, VALUE = range(9)
r"""Streams: what a draw is for."""


def mix(x: Tensor) -> Tensor:
    r"""The finaliser of SplitMix64, on any integers."""
    # '>>' of int64 is arithmetic, hence the masks.
    x = (x ^ ((x >> 30) & (2**34 - 1))) * -0x40A7B892E31B1A47
    x = (x ^ ((x >> 27) & (2**37 - 1))) * -0x6B2FB644ECCEEE15
    return x ^ ((x >> 31) & (2**33 - 1))


def join(key: Tensor, *values: Tensor) -> Tensor:
    r"""The key of a part of what :obj:`key` stands for."""
    for value in values:
        key = mix(mix(key + value) + value)
    return key


def context_keys(seed: int, epoch: Tensor, input_id: Tensor) -> Tensor:
    r"""The key of each context :obj:`[B]`."""
    start = mix(torch.full_like(input_id, seed) + 0x632BE5AB)
    return join(start, epoch, input_id)


def uniform(key: Tensor, stream: int) -> Tensor:
    r"""For each key a number in :math:`[0, 1)`, another one in each stream.

    Example:
        >>> keys = torch.arange(1000)
        >>> first, second = uniform(keys, CELL), uniform(keys, VALUE)
        >>> abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.1
        True
    """
    bits = join(key, torch.full_like(key, stream + 1))
    return ((bits >> 11) & (2**53 - 1)).double() * 2.0**-53
