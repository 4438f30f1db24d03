r"""Aggregates of dated rows of a key, as they stood at any time.

Lines of a key are in the order of time. What a row could know at :math:`u` is what
stood at the last line up to :math:`u`, and what happened in the window before it is the
difference of two lines: later ones are never looked at.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.relbench.features.running import find_ends, running

LAST = (3, 10)
r"""Of how many last values means are taken."""

DAY = 86_400.0
DATED = -4e18
r"""Times of undated rows are below."""


@dataclass
class History:
    r"""Lines and what their values are.

    Args:
        name: What features are called after.
        query: SQL that yields :obj:`key`, :obj:`time` (from when on the line is
            known), :obj:`row` (order among equal times) and values
            :obj:`v0`, :obj:`v1`, ...
        numbers: Names of the values that are numbers.
        indicators: Names of those after them that are zero or one.
        dates: Names of those after them that are unix seconds.
    """

    name: str
    query: str
    numbers: list[str] = field(default_factory=list)
    indicators: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)

    def features(
        self,
        connection: Any,
        key: np.ndarray,
        until: np.ndarray,
        windows: dict[str, int],
    ) -> dict[str, np.ndarray]:
        r"""Features of questions by name.

        Args:
            connection: Where the query runs.
            key: :obj:`[m]` keys, -1 where there is none.
            until: :obj:`[m]` up to when each question may look.
            windows: Seconds of windows, by name.
        """
        # Lines of keys that nobody asks about are left out.
        with_keys = f'SELECT * FROM ({self.query}) WHERE key IN (SELECT key FROM keyed)'
        lines = connection.execute(f'{with_keys} ORDER BY key, time, row').fetchnumpy()
        line_key, time = (np.ma.getdata(lines[name]) for name in ('key', 'time'))
        at = _Positions(line_key, time, key, until, windows)
        name = self.name
        out = {f'{name}: count': (at.end - at.start).astype(np.float64)}
        dated = at.known & (at.take(time.astype(np.float64), at.end) > DATED)
        for what, line in (('last', at.end), ('first', at.start + 1)):
            ago = (until - at.take(time.astype(np.float64), line)) / DAY
            out[f'{name}: days since {what}'] = np.where(dated, ago, np.nan)
        for window, begin in at.begin.items():
            out[f'{name}: count, {window}'] = (at.end - begin).astype(np.float64)
        columns = [*self.numbers, *self.indicators, *self.dates]
        for i, column in enumerate(columns):
            values = np.ma.filled(lines[f'v{i}'].astype(np.float64), np.nan)
            aggregates = running(values, at.is_first)
            what = f'{name}: {column}'
            if i < len(self.numbers):
                out |= _of_number(what, aggregates, at)
            elif column in self.dates:
                ago = (until - at.take(aggregates[5], at.end)) / DAY
                out[f'{what}, days ago'] = ago
            else:
                out |= _of_indicator(what, aggregates, at)
        return out


class _Positions:
    # Where the lines of each question begin and end, as numbers of lines before.
    def __init__(
        self,
        line_key: np.ndarray,
        time: np.ndarray,
        key: np.ndarray,
        until: np.ndarray,
        windows: dict[str, int],
    ) -> None:
        self.is_first = np.ones(len(line_key), dtype=bool)
        self.is_first[1:] = line_key[1:] != line_key[:-1]
        self.start = np.searchsorted(line_key, key)
        self.end = find_ends(line_key, time, key, until)
        self.known = self.end > self.start
        self.begin = {
            window: find_ends(line_key, time, key, until - seconds)
            for window, seconds in windows.items()
        }

    def take(self, values: np.ndarray, end: np.ndarray) -> np.ndarray:
        # What stood at the last line before an end, NaN before the first.
        padded = np.append(values, np.nan)
        return np.where(end > self.start, padded[end - 1], np.nan)

    def since(self, values: np.ndarray, begin: np.ndarray) -> np.ndarray:
        # How much a running sum grew between two ends.
        before = np.where(begin > self.start, values[begin - 1], 0.0)
        return self.take(values, self.end) - before


def _mean(aggregates: np.ndarray, at: _Positions, begin: np.ndarray) -> np.ndarray:
    if aggregates.shape[1] == 0:
        return np.full(len(begin), np.nan)
    count, total = (at.since(one, begin) for one in aggregates[:2])
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _of_indicator(
    what: str, aggregates: np.ndarray, at: _Positions
) -> dict[str, np.ndarray]:
    out = {f'{what}, mean': _mean(aggregates, at, at.start)}
    for window, begin in at.begin.items():
        out[f'{what}, mean, {window}'] = _mean(aggregates, at, begin)
    out[f'{what}, last'] = at.take(aggregates[5], at.end)
    return out


def _of_number(
    what: str, aggregates: np.ndarray, at: _Positions
) -> dict[str, np.ndarray]:
    out = _of_indicator(what, aggregates, at)
    count, total, squares, least, greatest, _ = (
        at.take(one, at.end) for one in aggregates
    )
    present = np.where(count > 0, 1.0, np.nan)
    out |= {f'{what}, sum': total * present}
    out |= {f'{what}, min': least, f'{what}, max': greatest}
    mean = total / np.where(count > 0, count, np.nan)
    variance = squares / np.where(count > 0, count, np.nan) - mean**2
    out[f'{what}, deviation'] = np.sqrt(np.maximum(variance, 0.0))
    for k in LAST:
        begin = np.maximum(at.start, at.end - k)
        out[f'{what}, mean of last {k}'] = _mean(aggregates, at, begin)
    return out
