r"""The histories at the ends of foreign-key paths, as SQL."""

from benchmark.relbench.features.columns import (
    ALWAYS,
    Column,
    indicators_of,
    number_of,
    time_of,
)
from benchmark.relbench.features.history import History
from benchmark.relbench.features.paths import Path, Step, name_of
from torch_geometric_rfm.audit import RawTables

Plan = dict[str, list[Column]]


def is_history(path: Path) -> bool:
    r"""Whether a path leads to any number of rows, rather than to one."""
    return any(not step.up for step in path)


def history_of(raw: RawTables, path: Path, plan: Plan) -> History:
    r"""The rows at the end of a path, by the row that its way down begins at.

    What is reached over other dated rows is known when the last of them is.
    """
    own, *rest = path if not path[0].up else path[1:]
    start = path[0].table if path[0].up else None
    sources = [f'({link(raw, own)}) l', f'{raw.name(own.table)} c']
    where = ['c.row = l.row']
    times = [time_of(raw, own.table, 'c')]
    key, alias, table, order = 'l.parent', 'c', own.table, 'c.row'
    if start is not None:  # The parent that siblings share must be known too.
        sources.append(f'{raw.name(start)} p')
        where.append('p.row = l.parent')
        times.append(time_of(raw, start, 'p'))
    for step in rest:
        sources += [f'({link(raw, step)}) m', f'{raw.name(step.table)} d']
        pair = ('m.row', 'm.parent') if step.up else ('m.parent', 'm.row')
        where += [f'{pair[0]} = c.row', f'd.row = {pair[1]}']
        times.append(time_of(raw, step.table, 'd'))
        alias, table = 'd', step.table
        order = 'c.row' if step.up else 'd.row'
    where += [f'{time} IS NOT NULL' for time in times]
    history = History(name_of(path), '')
    values = _values(raw, history, plan[table], alias)
    time = f'greatest({", ".join(times)}, {ALWAYS})'
    history.query = (
        f'SELECT {key} AS key, {time} AS time, {order} AS row{"".join(values)} '
        f'FROM {", ".join(sources)} WHERE {" AND ".join(where)}'
    )
    return history


def _values(
    raw: RawTables, history: History, columns: list[Column], alias: str
) -> list[str]:
    numbers, indicators, dates = {}, {}, {}
    for column in columns:
        target = dates if column.kind == 'datetime' else numbers
        target[column.name] = number_of(raw, column, alias)
        indicators.update(indicators_of(raw, column, alias))
    history.numbers, history.indicators = list(numbers), list(indicators)
    history.dates = list(dates)
    everything = [*numbers.values(), *indicators.values(), *dates.values()]
    return [f', {sql} AS v{i}' for i, sql in enumerate(everything)]


def link(raw: RawTables, step: Step) -> str:
    r"""A query of the rows that have a key and the parents it leads to."""
    return raw.parent_rows(step.child, step.fkey)
