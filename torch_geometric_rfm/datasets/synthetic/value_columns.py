r"""From standardised values to columns as databases hold them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.datasets.synthetic import words
from torch_geometric_rfm.datasets.synthetic.calendar import DAY

Array = NDArray[np.float64]
Column = tuple[str, Any]


def amount(x: Array, rng: np.random.Generator) -> Column:
    r"""A positive number of heavy tail.

    Args:
        x: :obj:`[rows]` standardised values.
        rng: The source of randomness.

    Returns:
        The words of the name, and the values.
    """
    scale = 10 ** rng.uniform(0, 4)
    digits = int(rng.integers(0, 3))
    value = np.round(scale * np.exp(rng.uniform(0.3, 1.2) * x), digits)
    return _modified(words.AMOUNTS, rng), value


def score(x: Array, rng: np.random.Generator) -> Column:
    r"""A number around a centre; see :func:`amount`."""
    scale = 10 ** rng.uniform(-1, 2)
    return _modified(words.SCORES, rng), np.round(scale * (x + rng.normal(0, 2)), 3)


def count(x: Array, rng: np.random.Generator) -> Column:
    r"""A number of things; see :func:`amount`."""
    value = np.floor(np.exp(rng.uniform(0.4, 1.0) * x + rng.uniform(0, 3)))
    return f'number of {rng.choice(words.COUNTS)}', value.astype(np.int64)


def grade(x: Array, rng: np.random.Generator) -> Column:
    r"""A whole number from 1 to at most 20, in even shares; see :func:`amount`."""
    num_grades = int(rng.choice([3, 5, 10, 20]))
    return str(rng.choice(words.GRADES)), _quantile_code(x, num_grades) + 1


def boolean(x: Array, rng: np.random.Generator) -> Column:
    r"""Whether a threshold is exceeded; see :func:`amount`."""
    value = x > np.quantile(x, rng.uniform(0.1, 0.9))
    return f'is {rng.choice(words.ADJECTIVES)}', value


def ordered_category(x: Array, rng: np.random.Generator) -> Column:
    r"""Words of increasing meaning; see :func:`amount`."""
    name = str(rng.choice(list(words.ORDERED_CATEGORIES)))
    levels = words.ORDERED_CATEGORIES[name].split(',')
    return name, np.array(levels, dtype=object)[_quantile_code(x, len(levels))]


def nominal_category(x: Array, rng: np.random.Generator) -> Column:
    r"""Words without order, the first most frequent; see :func:`amount`."""
    name = str(rng.choice(list(words.NOMINAL_CATEGORIES)))
    known = rng.permutation(words.NOMINAL_CATEGORIES[name].split(','))
    chosen = known[: rng.integers(2, len(known) + 1)].astype(object)
    share = 1 / np.arange(1, len(chosen) + 1)
    edges = np.cumsum(share / share.sum())[:-1]
    return name, chosen[np.searchsorted(edges, _rank(x))]


def text(x: Array, rng: np.random.Generator) -> Column:
    r"""Phrases whose first word follows from the value; see :func:`amount`."""
    first, second = (np.array(list_, dtype=object) for list_ in words.TEXT_WORDS)
    start = rng.permutation(first)[_quantile_code(x, len(first))]
    number = rng.integers(1, 100, len(x)).astype(str).astype(object)
    value = start + ' ' + rng.choice(second, len(x)) + ' ' + number
    return str(rng.choice(words.TEXTS)), value


def date(
    x: Array, rng: np.random.Generator, seconds: NDArray[np.int64], span: int
) -> Column:
    r"""A day some time after given ones, the later the greater the value; see
    :func:`amount`.
    """
    scale = span * rng.uniform(0.005, 0.1)
    later = seconds + (scale * np.exp(0.7 * np.clip(x, -4, 4))).astype(np.int64)
    value = (later // DAY * DAY).astype('datetime64[s]').astype('datetime64[ns]')
    return f'{rng.choice(words.DATES)} date', value


QUANTISERS: dict[str, tuple[Callable[..., Column], float]] = {
    'amount': (amount, 0.22),
    'score': (score, 0.2),
    'count': (count, 0.12),
    'grade': (grade, 0.1),
    'boolean': (boolean, 0.12),
    'ordered_category': (ordered_category, 0.08),
    'nominal_category': (nominal_category, 0.1),
    'date': (date, 0.04),
    'text': (text, 0.02),
}
r"""What a value may become, and how often it does."""


def with_gaps(value: Any, missing: NDArray[np.bool_]) -> Any:
    r"""The values with some missing, of a type that can hold that."""
    if not missing.any():
        return value
    if value.dtype.kind == 'M':
        return np.where(missing, np.datetime64('NaT'), value)
    if value.dtype.kind in 'iuf':
        return np.where(missing, np.nan, value.astype(np.float64))
    value = value.astype(object)
    value[missing] = None
    return value


def draw_gaps(
    x: Array, cause: Array, max_missing: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    r"""Which values are missing: at random, by themselves, or by another cause."""
    share = rng.uniform(0, max_missing) if rng.random() < 0.35 else 0.0
    kind = rng.integers(0, 3)
    if kind == 0 or share == 0:
        return rng.random(len(x)) < share
    chance = 1 / (1 + np.exp(-2 * (x if kind == 1 else cause)))
    return rng.random(len(x)) < 2 * share * chance


def _modified(nouns: list[str], rng: np.random.Generator) -> str:
    noun = str(rng.choice(nouns))
    return f'{rng.choice(words.MODIFIERS)} {noun}' if rng.random() < 0.35 else noun


def _rank(x: Array) -> Array:
    rank = np.empty(len(x))
    rank[np.argsort(x, kind='stable')] = (np.arange(len(x)) + 0.5) / max(1, len(x))
    return rank


def _quantile_code(x: Array, num_codes: int) -> NDArray[np.int64]:
    return (_rank(x) * num_codes).astype(np.int64)
