r"""Forecasts of what happens to an entity, over a path of foreign keys."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import SPLITS
from torch_geometric_rfm.datasets.foreign_key_path import ForeignKeyPath
from torch_geometric_rfm.datasets.task_tables import TaskTable
from torch_geometric_rfm.datasets.usable_labels import Labels

ACTIVE_WINDOWS = 3
r"""An entity is asked about if something happened to it in so many horizons."""

_MAX_TIMES = {'train': 64, 'val': 16, 'test': 16}


class Forecast(NamedTuple):
    r"""What is forecast.

    Args:
        name: Words for it, part of the name of the task.
        target_col: The label column.
        cell_type: What the label is.
        sql: The expression of the label, over the happenings in the window.
        otherwise: The label if nothing happens, :obj:`None` if there is none.
    """

    name: str
    target_col: str
    cell_type: CellType
    sql: str
    otherwise: float | None


RARE_SHARE = 0.2
r"""The share of values that count as low, and of those that count as high."""


def forecasts_of(
    events: TaskTable, bounds: dict[str, tuple[float, float]]
) -> list[Forecast]:
    r"""What can be forecast of a table of happenings: how many there are, whether
    there are any, of each column the sum, the mean and the next value, and whether
    one of its values is low or high.

    Args:
        events: The table of happenings.
        bounds: The largest low and the least high value of columns.
    """
    number, boolean = CellType.NUMBER, CellType.BOOLEAN
    out = [
        Forecast('count', f'number_of_{events.name}', number, 'count(*)', 0.0),
        Forecast('any', f'any_{events.name}', boolean, '1.0', 0.0),
    ]
    for i, column in enumerate(events.label_columns):
        value, kind = f'ev.value_{i}', events.cell_types[column]
        following = (
            f'first({value} ORDER BY ev.time, ev.row) FILTER ({value} IS NOT NULL)'
        )
        out.append(Forecast(f'next-{column}', f'next_{column}', kind, following, None))
        if kind == number:
            name = f'total_{column}'
            total = f'coalesce(sum({value}), 0)'
            out.append(Forecast(f'total-{column}', name, number, total, 0.0))
        mean = f'avg({value})'
        name = f'mean_{column}' if kind == number else f'share_of_{column}'
        out.append(Forecast(name.replace('_', '-', 1), name, number, mean, None))
        if column in bounds:
            for word, sign, bound in zip(('low', 'high'), ('<=', '>='), bounds[column]):
                rare = f'bool_or({value} {sign} {bound!r})::DOUBLE'
                name = f'any_{word}_{column}'
                out.append(Forecast(f'{word}-{column}', name, boolean, rare, None))
    return out


class ForecastTables:
    r"""The happenings of a path, and labels of them for any horizon.

    Args:
        connection: DuckDB with the tables, see
            :func:`~torch_geometric_rfm.datasets.task_tables.connect`.
        tables: The tables of the database.
        path: The way from the entities to the happenings.
    """

    def __init__(
        self, connection: Any, tables: dict[str, TaskTable], path: ForeignKeyPath
    ) -> None:
        self.connection, self.tables, self.path = connection, tables, path
        connection.execute(f'CREATE OR REPLACE TEMP TABLE events AS {self._events()}')
        self.count, self.first, self.last = connection.execute(
            'SELECT count(*), min(time), max(time) FROM events'
        ).fetchall()[0]

    def _events(self) -> str:
        # Happenings count from when all rows on the way to them are there.
        number = {name: i for i, name in enumerate(self.tables)}
        joins, times, known = [], [], []
        for depth, (name, fkey) in enumerate(self.path.hops):
            table = self.tables[name]
            key = f'hop_{depth}.key_{list(table.parents).index(fkey)}'
            if depth:
                on = f'ON {key} = hop_{depth - 1}.row'
                joins.append(f'JOIN table_{number[name]} AS hop_{depth} {on}')
            else:
                entity = key
                joins.append(f'FROM table_{number[name]} AS hop_0')
            if table.time is not None:
                times.append(f'hop_{depth}.time')
                known.append(f'hop_{depth}.time IS NOT NULL')
        last = f'hop_{len(self.path.hops) - 1}'
        return (
            f'SELECT {entity} AS entity, greatest({", ".join(times)}) AS time, '
            f'{last}.* EXCLUDE (time) {" ".join(joins)} '
            f'WHERE {entity} IS NOT NULL AND {" AND ".join(known)}'
        )

    def gaps(self, until: int) -> tuple[float, float] | None:
        r"""The median and the mean time between two happenings of an entity up to a
        time, in seconds; :obj:`None` if there are no two.
        """
        query = """
            SELECT median(gap), avg(gap) FROM (
                SELECT time - lag(time) OVER (PARTITION BY entity ORDER BY time) AS gap
                FROM (SELECT DISTINCT entity, time FROM events WHERE time <= $until)
            )
        """
        found = self.connection.execute(query, {'until': until}).fetchall()[0]
        return None if found[0] is None else found

    def bounds(self, until: int) -> dict[str, tuple[float, float]]:
        r"""The largest low and the least high value of each number among the
        happenings up to a time; columns of which a bound would take in more than
        half of the values are left out.
        """
        table = self.tables[self.path.events]
        out = {}
        for i, column in enumerate(table.label_columns):
            if table.cell_types[column] != CellType.NUMBER:
                continue
            value = f'value_{i}'
            low, high = self.connection.execute(
                f'SELECT quantile_disc({value}, $rare), quantile_disc({value}, 1 - '
                f'$rare) FROM events WHERE time <= $until AND {value} IS NOT NULL',
                {'until': until, 'rare': RARE_SHARE},
            ).fetchall()[0]
            if low is None:
                continue
            share = self.connection.execute(
                f'SELECT avg(({value} <= $low)::INT), avg(({value} >= $high)::INT) '
                f'FROM events WHERE time <= $until AND {value} IS NOT NULL',
                {'until': until, 'low': low, 'high': high},
            ).fetchall()[0]
            if max(share) <= 0.5:
                out[column] = (float(low), float(high))
        return out

    def labels(
        self, forecasts: list[Forecast], horizon: int, val: int, test: int
    ) -> list[Labels]:
        r"""Labels of all active entities at regular times, where they are known.

        Windows are :math:`(t, t + horizon]`. They do not overlap; those of train
        end by :obj:`val`, those of val by :obj:`test`, those of test by the last
        happening.

        Args:
            forecasts: What is forecast.
            horizon: Length of a window in seconds.
            val: When val begins, in unix seconds.
            test: When test begins, in unix seconds.

        Returns:
            The labels of each forecast, by time and entity.
        """
        seeds = seed_times(self.first, self.last, horizon, val, test)
        self.connection.register('seeds', seeds)
        try:
            columns = self.connection.execute(
                self._sql(forecasts),
                {'horizon': horizon, 'active': ACTIVE_WINDOWS * horizon},
            ).fetchnumpy()
        finally:
            self.connection.unregister('seeds')
        out = []
        for i in range(len(forecasts)):
            label = np.ma.filled(columns[f'label_{i}'], np.nan)
            entity, time, split = (
                np.asarray(columns[key]) for key in ('entity', 'time', 'split')
            )
            labels = Labels(entity, time, split, label)
            out.append(labels.take(~np.isnan(label)))
        return out

    def _sql(self, forecasts: list[Forecast]) -> str:
        entity = self.tables[self.path.entity]
        number = list(self.tables).index(self.path.entity)
        there = ''
        if entity.time is not None:
            there = f"""
                JOIN table_{number} AS entity
                ON entity.row = before.entity AND entity.time <= seeds.time"""
        inside = ', '.join(f'{f.sql} AS label_{i}' for i, f in enumerate(forecasts))
        outside = ', '.join(
            f'label_{i}::DOUBLE AS label_{i}'
            if f.otherwise is None
            else f'coalesce(label_{i}, {f.otherwise})::DOUBLE AS label_{i}'
            for i, f in enumerate(forecasts)
        )
        # The last seed before a happening is the only one whose window may hold it.
        return f"""
            WITH before AS (
                SELECT ev.entity, seeds.time AS seen, max(ev.time) AS time
                FROM events AS ev ASOF JOIN seeds ON ev.time <= seeds.time
                GROUP BY ALL
            ), active AS (
                SELECT DISTINCT before.entity, seeds.time, seeds.split
                FROM before JOIN seeds
                ON before.time <= seeds.time AND before.time > seeds.time - $active
                {there}
            ), happens AS (
                SELECT ev.entity, seeds.time, {inside}
                FROM events AS ev ASOF JOIN seeds ON ev.time > seeds.time
                WHERE ev.time <= seeds.time + $horizon
                GROUP BY ev.entity, seeds.time
            )
            SELECT entity, time, split, {outside}
            FROM active LEFT JOIN happens USING (entity, time)
            ORDER BY time, entity
        """


def seed_times(
    first: int, last: int, horizon: int, val: int, test: int
) -> pd.DataFrame:
    r"""The times at which entities are asked about, in order, with their splits as
    positions in :obj:`SPLITS`.
    """
    times: dict[str, NDArray[np.int64]] = {
        'train': np.arange(val - horizon, first - 1, -horizon, dtype=np.int64),
        'val': np.arange(val, test - horizon + 1, horizon, dtype=np.int64),
        'test': np.arange(test, last - horizon + 1, horizon, dtype=np.int64),
    }
    chosen = [np.sort(times[split][: _MAX_TIMES[split]]) for split in SPLITS]
    split = np.repeat(np.arange(len(SPLITS)), [len(at) for at in chosen])
    return pd.DataFrame({'time': np.concatenate(chosen), 'split': split})


_FRIENDLY = [
    *((f'{n}min', n * 60) for n in (5, 15, 30)),
    *((f'{n}h', n * 3600) for n in (1, 3, 6, 12)),
    *(
        (f'{n}d', n * 86_400)
        for n in (1, 2, 3, 7, 14, 30, 60, 90, 180, 365, 730, 1461, 3652)
    ),
]


def choose_horizons(
    gaps: tuple[float, float] | None, first: int, last: int, val: int, test: int
) -> list[int]:
    r"""A short and a long horizon in seconds: twice the median and eight times the
    mean time between happenings, as far as the splits are long enough for them and
    the windows of train not too short to tell of a tenth of the time before val.
    """
    room = min(test - val, last - test, (val - first) // 3)
    fitting = np.array([seconds for _, seconds in _FRIENDLY if seconds <= room])
    if gaps is None or fitting.size == 0:
        return []
    least = 0.1 * (val - first) / _MAX_TIMES['train']
    wanted = np.log(np.maximum(least, np.array(gaps) * [2.0, 8.0]))
    nearest = np.abs(np.log(fitting)[None] - wanted[:, None]).argmin(axis=1)
    return sorted(set(fitting[nearest].tolist()))


def horizon_name(seconds: int) -> str:
    r"""A short name of a horizon.

    Example:
        >>> horizon_name(1_209_600), horizon_name(5400)
        ('14d', '90min')
    """
    for unit, size in (('d', 86_400), ('h', 3600), ('min', 60)):
        if seconds % size == 0:
            return f'{seconds // size}{unit}'
    return f'{seconds}s'
