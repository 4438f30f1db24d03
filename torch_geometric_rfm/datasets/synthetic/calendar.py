r"""How much happens when: trend, season and events on a span of time."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAY = 86_400
_BINS = 512


class TimeSeries:
    r"""A random curve on :math:`[0, 1]`: trend, season, events and a slow drift.

    Args:
        rng: The source of randomness.
        num_seasons: How many periods of the season fit in the span.
    """

    def __init__(self, rng: np.random.Generator, num_seasons: float) -> None:
        x = np.linspace(0, 1, _BINS)
        season = np.sin(2 * np.pi * (num_seasons * x + rng.random()))
        value = rng.normal(0, 1.5) * (x - 0.5) + rng.uniform(0, 1) * season
        for _ in range(rng.integers(0, 4)):
            # An event rises at once and fades.
            begin, length = rng.random(), rng.uniform(0.01, 0.1)
            since = (x - begin) / length
            fade = np.where(since >= 0, np.exp(-np.clip(since, 0, 30)), 0)
            value += rng.normal(0, 1.5) * fade
        walk = np.cumsum(rng.normal(0, 1, _BINS)) / np.sqrt(_BINS)
        value += rng.uniform(0, 0.7) * walk
        spread = value.std()
        self.value = (value - value.mean()) / (spread if spread > 0 else 1.0)
        self._x = x
        total = np.cumsum(np.exp(0.7 * self.value))
        self._cumulative = np.concatenate([[0.0], total / total[-1]])
        self._edges = np.linspace(0, 1, _BINS + 1)

    def __call__(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        r"""Its values, of mean 0 and standard deviation 1 over the span."""
        return np.interp(at, self._x, self.value)

    def draw_times(
        self,
        start: NDArray[np.float64],
        stop: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        r"""A time in each :math:`[start, stop]`, in proportion to
        :math:`\exp(.7\, value)`.
        """
        low = np.interp(start, self._edges, self._cumulative)
        high = np.interp(stop, self._edges, self._cumulative)
        at = low + (high - low) * rng.random(len(start))
        return np.clip(np.interp(at, self._cumulative, self._edges), start, stop)


class Calendar:
    r"""The span of time of a database, from two months to forty years.

    Args:
        rng: The source of randomness.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        days = int(np.exp(rng.uniform(np.log(60), np.log(40 * 365))))
        first = pd.Timestamp('1960-01-01').timestamp() + rng.integers(0, 50 * 365) * DAY
        self.start, self.seconds = int(first), days * DAY
        years, weeks = days / 365.25, days / 7
        self.num_seasons = years if years > 2 else min(weeks, 40.0)
        self.whole_days = bool(days > 365 and rng.random() < 0.5)

    def to_seconds(self, at: NDArray[np.float64]) -> NDArray[np.int64]:
        r"""Unix seconds of places in :math:`[0, 1]`, in their order."""
        seconds = self.start + (at * self.seconds).astype(np.int64)
        return seconds // DAY * DAY if self.whole_days else seconds

    def to_dates(self, at: NDArray[np.float64]) -> NDArray[np.datetime64]:
        r"""Dates of places in :math:`[0, 1]`."""
        return self.to_seconds(at).astype('datetime64[s]').astype('datetime64[ns]')

    def series(self, rng: np.random.Generator) -> TimeSeries:
        r"""A random curve with the seasons of this span."""
        return TimeSeries(rng, self.num_seasons)
