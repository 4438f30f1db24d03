r"""What cells that summarise an entity must hold, by SQL."""

import math
import re
from typing import Any, NamedTuple

from torch_geometric_rfm.audit.label_summaries import (
    find_label_summary,
    summarise_labels,
)
from torch_geometric_rfm.audit.raw_tables import RawTables
from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.scales import Scale, number_scales

_NUM_CHILDREN = 64
_MAX_ROWS = 4096  # of train, that statistics are taken from
_DAY = 86_400


class Summary(NamedTuple):
    r"""What is made of the children of an entity: the logarithm of how many there are,
    of a window if there is one, or the mean of a column.
    """

    table: str
    key: str
    column: str | None = None
    window: int | None = None  # seconds


def find_summary(raw: RawTables, task: RawTask, name: str) -> Summary | str | None:
    r"""What a cell of the task table of this name summarises, if anything: children,
    or labels in a way that :func:`summarise_labels` knows.
    """
    if kind := find_label_summary(task, name):
        return kind
    found = re.fullmatch(r'(.*) in the last (\S+) days', name)
    for table, source in raw.tables.items():
        for key, parent in source.fkey_col_to_pkey_table.items():
            if parent != task.entity_table:
                continue
            count = f'number of {table} by {key}'
            if name == count:
                return Summary(table, key)
            if found is not None and found[1] == count:
                return Summary(table, key, window=_seconds(task, found[2]))
            for column in raw.features(table):
                hidden = (table, column) in task.hidden
                if name == f'mean {column} of {table} by {key}' and not hidden:
                    return Summary(table, key, column)
    return None


def _seconds(task: RawTask, days: str) -> int:
    # Names are rounded; windows are horizons, unless the audit knows of another.
    horizon = math.ceil(task.horizon)
    for window in (horizon, 4 * horizon):
        if days == f'{window / _DAY:g}':
            return window
    return round(float(days) * _DAY)


def make_summary(
    connection: Any,
    raw: RawTables,
    task: RawTask,
    summary: Summary | str,
    cutoff: int,
    strict: bool,
) -> Scale:
    r"""Makes the table :obj:`summary` of the seeds: their :obj:`row` of the task table
    and the value :obj:`v`; returns the scale of the values of train rows.
    """
    # Labels are of a time before that one in any case.
    late = int(strict and isinstance(summary, Summary))
    seeds = f'SELECT DISTINCT idx, entity, visible_until - {late} FROM seeds'
    _summarise(connection, raw, task, summary, cutoff, seeds)
    connection.execute('CREATE OR REPLACE TEMP TABLE summary AS FROM summarised')
    if isinstance(summary, str) and summary != 'number':
        return Scale(0.0, 1.0)  # Means of labels are in the unit of labels.
    train = f"""
        SELECT row, entity, time - {late} FROM (
            SELECT *, row_number() OVER (ORDER BY row) - 1 AS place,
                   count(*) OVER () AS size FROM labels WHERE split = 'train'
        ) WHERE place % greatest(1, (size + {_MAX_ROWS - 1}) // {_MAX_ROWS}) = 0
    """
    _summarise(connection, raw, task, summary, cutoff, train)
    row = connection.execute('SELECT favg(v), stddev_pop(v) FROM summarised').fetchone()
    mean, std = row if row[0] is not None else (0.0, 1.0)
    return Scale(float(mean), float(std) if std > 1e-6 else 1.0)


def _summarise(
    connection: Any,
    raw: RawTables,
    task: RawTask,
    summary: Summary | str,
    cutoff: int,
    asked: str,
) -> None:
    # The table `summarised` of rows, entities and times.
    if isinstance(summary, str):
        summarise_labels(connection, task, summary, asked)
        return
    table, entities = raw.name(summary.table), raw.name(task.entity_table)
    seen = (
        'coalesce(x.time <= q.until, FALSE)' if raw.is_dated(summary.table) else 'TRUE'
    )
    order = 'x.time' if raw.is_dated(summary.table) else '0'
    there = 'coalesce(e.time <= a.until, FALSE)'
    there = there if raw.is_dated(task.entity_table) else 'TRUE'
    score = 'NULL::DOUBLE'
    value = 'ln(1 + count(child))'
    if summary.window is not None:
        recent = f'child_time > until - {summary.window}'
        value = f'ln(1 + count(child) FILTER (WHERE {recent}))'
    if summary.column is not None:
        scale, _ = number_scales(connection, raw, summary.table, summary.column, cutoff)
        given = raw.values(summary.table, summary.column)
        score = f'CASE WHEN {given} IS NOT NULL THEN clip({scale.score(given)}) END'
        value = f'favg(score) FILTER (WHERE place <= {_NUM_CHILDREN})'
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE summarised AS
        WITH asked(row, entity, until) AS ({asked}),
        q AS (
            SELECT a.* FROM asked a JOIN {entities} e ON e.row = a.entity WHERE {there}
        ),
        children AS (
            SELECT q.row AS row, x.row AS child, {order} AS child_time, score,
                   row_number() OVER (PARTITION BY q.row
                                      ORDER BY {order} DESC, x.row DESC) AS place
            FROM q JOIN ({raw.parent_rows(summary.table, summary.key)}) p
            ON p.parent = q.entity
            JOIN (SELECT *, {score} AS score FROM {table}) x ON x.row = p.row
            WHERE {seen}
        )
        SELECT q.row AS row, {value} AS v
        FROM q LEFT JOIN children c ON c.row = q.row GROUP BY q.row, until
        """
    )
