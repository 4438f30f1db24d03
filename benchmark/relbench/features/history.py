r"""Aggregates of dated rows of a key, as they stood at any time.

A history has a line for each key and time at which something changed, with running
counts, sums, extremes and last values up to then. What a row could know at
:math:`u` is then one ASOF join, and what happened in the window before it is the
difference of two: rows after :math:`u` are never looked at.
"""

from dataclasses import dataclass, field

LAST = (3, 10)
r"""Of how many last values means are taken."""


@dataclass
class History:
    r"""A table of running aggregates.

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

    def table(self) -> str:
        r"""The running aggregates, one line for each key and time."""
        columns = ['key', 'time', 'count(*) OVER w AS n', 'min(time) OVER w AS t0']
        first_date = len(self.numbers) + len(self.indicators)
        for i in range(first_date + len(self.dates)):
            columns.append(f'last_value(v{i} IGNORE NULLS) OVER w AS l{i}')
            if i >= first_date:
                continue
            columns.append(f'count(v{i}) OVER w AS n{i}, sum(v{i}) OVER w AS s{i}')
            if i < len(self.numbers):
                columns.append(f'min(v{i}) OVER w AS a{i}, max(v{i}) OVER w AS z{i}')
                columns.append(f'sum(v{i} * v{i}) OVER w AS q{i}')
                columns += [
                    f'avg(v{i}) OVER (w ROWS {k - 1} PRECEDING) AS m{i}_{k}'
                    for k in LAST
                ]
        return (
            f'SELECT {", ".join(columns)} FROM ({self.query}) WINDOW w AS (PARTITION '
            'BY key ORDER BY time, row) QUALIFY lead(time) OVER w IS DISTINCT FROM time'
        )

    def features(self, windows: dict[str, int]) -> dict[str, str]:
        r"""SQL of each feature by name, over :obj:`h` (at the time asked about),
        :obj:`h0`, :obj:`h1`, ... (at the beginning of each window) and :obj:`s`.
        """
        name = self.name
        out = {f'{name}: count': 'coalesce(h.n, 0)'}
        dated = 'h.time > -4e18'
        out[f'{name}: days since last'] = (
            f'CASE WHEN {dated} THEN (s.until - h.time) / 86400.0 END'
        )
        out[f'{name}: days since first'] = (
            f'CASE WHEN {dated} THEN (s.until - h.t0) / 86400.0 END'
        )
        for j, window in enumerate(windows):
            out[f'{name}: count, {window}'] = f'coalesce(h.n, 0) - coalesce(h{j}.n, 0)'
        columns = [*self.numbers, *self.indicators]
        for i, column in enumerate(columns):
            what = f'{name}: {column}'
            out[f'{what}, mean'] = f'h.s{i} / nullif(h.n{i}, 0)'
            for j, window in enumerate(windows):
                total = f'h.s{i} - coalesce(h{j}.s{i}, 0)'
                count = f'h.n{i} - coalesce(h{j}.n{i}, 0)'
                out[f'{what}, mean, {window}'] = f'({total}) / nullif({count}, 0)'
            out[f'{what}, last'] = f'h.l{i}'
            if i < len(self.numbers):
                out[f'{what}, sum'] = f'h.s{i}'
                out[f'{what}, min'] = f'h.a{i}'
                out[f'{what}, max'] = f'h.z{i}'
                mean = f'h.s{i} / nullif(h.n{i}, 0)'
                variance = f'h.q{i} / nullif(h.n{i}, 0) - ({mean}) * ({mean})'
                root = f'sqrt(greatest(0, {variance}))'
                out[f'{what}, deviation'] = f'CASE WHEN h.n{i} > 0 THEN {root} END'
                for k in LAST:
                    out[f'{what}, mean of last {k}'] = f'h.m{i}_{k}'
        for i, column in enumerate(self.dates, len(columns)):
            out[f'{name}: {column}, days ago'] = f'(s.until - h.l{i}) / 86400.0'
        return out

    def joined(self, history: str, windows: dict[str, int]) -> str:
        r"""A query of the features of all seeds (:obj:`id`, :obj:`key`,
        :obj:`until`), in their order.
        """
        out = ', '.join(
            f'CAST({sql} AS FLOAT) AS f{i}'
            for i, sql in enumerate(self.features(windows).values())
        )
        join = f'ASOF LEFT JOIN {history} '
        joins = [f'{join} h ON s.key = h.key AND s.until >= h.time']
        joins += [
            f'{join} h{j} ON s.key = h{j}.key AND s.until - {seconds} >= h{j}.time'
            for j, seconds in enumerate(windows.values())
        ]
        return f'SELECT {out} FROM keyed s {" ".join(joins)} ORDER BY s.id'
