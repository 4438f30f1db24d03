r"""What the columns of a database are as features, from rows before the cutoff."""

from dataclasses import dataclass
from typing import Any

from torch_geometric_rfm.audit import RawTables

ALWAYS = -(2**62)
r"""The time of a row of an undated table."""

NUM_VALUES = 6
r"""Frequent values of a category whose shares are counted."""


@dataclass(frozen=True)
class Column:
    r"""A feature column.

    Args:
        table, name: Where it stands.
        kind: :obj:`"number"`, :obj:`"datetime"`, :obj:`"category"` or
            :obj:`"text"`.
        values: Its frequent values as strings, the most frequent first.
    """

    table: str
    name: str
    kind: str
    values: tuple[str, ...] = ()


def time_of(raw: RawTables, table: str, alias: str) -> str:
    r"""The time of a row, that of an undated table always."""
    return f'{alias}.time' if raw.is_dated(table) else str(ALWAYS)


def plan_columns(
    raw: RawTables, cutoff: int, hidden: set[tuple[str, str]]
) -> dict[str, list[Column]]:
    r"""The feature columns of every table: kinds and frequent values are those of
    rows up to the cutoff; a column without values by then is left out.
    """
    plan: dict[str, list[Column]] = {}
    for table, source in raw.tables.items():
        plan[table] = []
        for name in raw.features(table):
            if name == source.time_col or (table, name) in hidden:
                continue
            column = _plan_column(raw, table, name, cutoff)
            if column is not None:
                plan[table].append(column)
    return plan


def _plan_column(raw: RawTables, table: str, name: str, cutoff: int) -> Any:
    # First, as DuckDB wants no other work before a result is read to its end.
    is_datetime = raw.is_datetime(table, name)
    sql = raw.column(table, name)
    source = f'FROM {raw.name(table)} t WHERE {time_of(raw, table, "t")} <= {cutoff}'
    counts = raw.connection.execute(
        f'SELECT CAST({sql} AS VARCHAR) AS value, count(*) AS n {source} '
        f'AND {sql} IS NOT NULL GROUP BY 1 ORDER BY n DESC, value'
    ).fetchall()
    if not counts:
        return None
    present = sum(n for _, n in counts)
    frequent = tuple(value for value, n in counts if n > 1)
    if is_datetime:
        return Column(table, name, 'datetime')
    kind = raw.type_of(table, name)
    if kind == 'VARCHAR':
        is_text = len(counts) > max(20, present // 4)
        values = () if is_text else frequent[:100]
        return Column(table, name, 'text' if is_text else 'category', values)
    ((odd,),) = raw.connection.execute(
        f'SELECT count(*) FROM (SELECT {raw.values(table, name)} AS x {source}) '
        'WHERE x <> floor(x)'
    ).fetchall()
    is_code = not odd and 2 < len(counts) <= min(200, max(3, present // 10))
    return Column(table, name, 'number', frequent[:NUM_VALUES] if is_code else ())


def number_of(raw: RawTables, column: Column, alias: str) -> str:
    r"""A column as a number: seconds of a date, the rank of a category by
    frequency, the length of a text.
    """
    name = f'{alias}.{raw.column(column.table, column.name)}'
    if column.kind == 'datetime':
        return f'CAST({_qualified(raw, column, alias, "seconds")} AS DOUBLE)'
    if column.kind == 'number':
        return _qualified(raw, column, alias, 'values')
    if column.kind == 'text':
        return f'CAST(length(CAST({name} AS VARCHAR)) AS DOUBLE)'
    values = ', '.join(map(quote, column.values))
    rank = f'list_position([{values}], CAST({name} AS VARCHAR))'
    # A value that is not frequent comes after those that are.
    return (
        f'CASE WHEN {name} IS NOT NULL THEN '
        f'CAST(coalesce({rank}, {len(column.values) + 1}) AS DOUBLE) END'
    )


def indicators_of(raw: RawTables, column: Column, alias: str) -> dict[str, str]:
    r"""For each frequent value whether a row has it, by name."""
    name = f'{alias}.{raw.column(column.table, column.name)}'
    return {
        f'{column.name}={value[:30]}': f'CASE WHEN {name} IS NOT NULL THEN '
        f'CAST(CAST({name} AS VARCHAR) = {quote(value)} AS DOUBLE) END'
        for value in column.values[:NUM_VALUES]
    }


def _qualified(raw: RawTables, column: Column, alias: str, how: str) -> str:
    # RawTables writes bare names; the alias goes in front of the column's.
    name = raw.column(column.table, column.name)
    sql = getattr(raw, how)(column.table, column.name)
    return sql.replace(f'({name})', f'({alias}.{name})')


def quote(text: str) -> str:
    r"""A string of SQL."""
    return "'" + text.replace("'", "''") + "'"
