r"""Automatic features of the rows of a task, point-in-time correct, by DuckDB."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.relbench.features.columns import (
    Column,
    number_of,
    plan_columns,
    time_of,
)
from benchmark.relbench.features.histories import (
    history_of,
    is_history,
    link,
)
from benchmark.relbench.features.history import History
from benchmark.relbench.features.paths import (
    Path,
    name_of,
    paths_from,
    steps_from,
)
from benchmark.relbench.inputs import Inputs
from torch_geometric_rfm.audit import RawTables

DAY = 86_400

NUM_CLASSES = 8
r"""Frequent classes whose shares among labels are features."""


@dataclass
class FeaturePlan:
    r"""What is fixed before any feature is computed.

    Args:
        columns: For each table its feature columns.
        windows: Seconds of the windows before a row's time, by name.
    """

    columns: dict[str, list[Column]]
    windows: dict[str, int]


def plan_features(inputs: Inputs) -> FeaturePlan:
    r"""Decides on columns, frequent values and windows by rows up to the cutoff."""
    hidden = {tuple(pair) for pair in inputs.task.hidden_columns}
    columns = plan_columns(raw_tables(inputs), inputs.cutoff, hidden)
    return FeaturePlan(columns, windows_of(inputs))


def windows_of(inputs: Inputs) -> dict[str, int]:
    r"""Once, four and twelve times the horizon, in whole days; of tasks without one
    a fiftieth of the time that train labels span instead.
    """
    base = inputs.task.horizon.total_seconds()
    if base < DAY:
        times = inputs.times[inputs.rows('train')]
        base = max(DAY, (times.max() - times.min()) / 50)
    days = [max(1, round(base * factor / DAY)) for factor in (1, 4, 12)]
    return {f'{count} days': count * DAY for count in dict.fromkeys(days)}


def raw_tables(inputs: Inputs) -> RawTables:
    r"""The tables of the database in DuckDB."""
    return inputs.cached('raw', lambda: RawTables(inputs.db))


def entity_features(
    inputs: Inputs, plan: FeaturePlan, rows: np.ndarray, until: np.ndarray
) -> pd.DataFrame:
    r"""Columns of the entity's own row, where it is known by then, and the date."""
    _load_seeds(inputs, rows, until)
    return pd.concat([_row_features(inputs, plan, ()), _calendar(until)], axis=1)


def relational_features(
    inputs: Inputs, plan: FeaturePlan, rows: np.ndarray, until: np.ndarray
) -> pd.DataFrame:
    r"""Features of rows of the task table.

    Those of the entity and its parents, aggregates of every path that leads down,
    and aggregates of labels: the entity's own, those of entities with the same
    parents, and of all entities together.

    Args:
        inputs: The database and the task.
        plan: What :func:`plan_features` gave.
        rows: :obj:`[n]` rows of the task table.
        until: :obj:`[n]` up to when each may look, in unix seconds.

    Returns:
        :obj:`n` rows of single-precision features, NaN where there is none.
    """
    _load_seeds(inputs, rows, until)
    raw = raw_tables(inputs)
    parts = [_row_features(inputs, plan, ()), _calendar(until)]
    for path in paths_from(raw, inputs.task.entity_table):
        if not is_history(path):
            parts.append(_row_features(inputs, plan, path))
            continue
        history = history_of(raw, path, plan.columns)
        key = 's.entity'
        if path[0].up:  # Siblings hang on the parent of the entity.
            key = _known_parent(inputs, path)
        parts.append(_history_features(inputs, history, key, plan.windows))
    parts += _label_features(inputs, plan.windows)
    return pd.concat(parts, axis=1)


def _load_seeds(inputs: Inputs, rows: np.ndarray, until: np.ndarray) -> None:
    entity = inputs.task.frame['entity'].to_numpy()[rows]
    frame = pd.DataFrame({'id': np.arange(len(rows)), 'entity': entity})
    frame['until'] = np.asarray(until, dtype=np.int64)
    connection = raw_tables(inputs).connection
    connection.register('given', frame)
    connection.execute('CREATE OR REPLACE TEMP TABLE seeds AS SELECT * FROM given')
    connection.unregister('given')


def _fetch(inputs: Inputs, query: str, names: list[str]) -> pd.DataFrame:
    columns = raw_tables(inputs).connection.execute(query).fetchnumpy()
    values = {
        name: np.ma.filled(column.astype(np.float32), np.nan)
        for name, column in zip(names, columns.values(), strict=True)
    }
    return pd.DataFrame(values)


def _known_parent(inputs: Inputs, path: Path) -> str:
    # The row that the first key of a path leads to, if both rows are known.
    raw = raw_tables(inputs)
    entity, parent = inputs.task.entity_table, path[0].table
    return (
        f'(SELECT l.parent FROM ({link(raw, path[0])}) l JOIN {raw.name(entity)} e '
        f'ON e.row = l.row JOIN {raw.name(parent)} p ON p.row = l.parent '
        f'WHERE l.row = s.entity AND {time_of(raw, entity, "e")} <= s.until '
        f'AND {time_of(raw, parent, "p")} <= s.until)'
    )


def _row_features(inputs: Inputs, plan: FeaturePlan, path: Path) -> pd.DataFrame:
    # Columns of the one row at the end of a path upwards, if all on the way is known.
    raw, table = raw_tables(inputs), inputs.task.entity_table
    joins = f'LEFT JOIN {raw.name(table)} x0 ON x0.row = s.entity'
    joins += f' AND {time_of(raw, table, "x0")} <= s.until'
    for i, step in enumerate(path, 1):
        table = step.table
        joins += f' LEFT JOIN ({link(raw, step)}) l{i} ON l{i}.row = x{i - 1}.row'
        joins += f' LEFT JOIN {raw.name(table)} x{i} ON x{i}.row = l{i}.parent'
        joins += f' AND {time_of(raw, table, f"x{i}")} <= s.until'
    alias, prefix = f'x{len(path)}', name_of(path) or table
    features = {}
    if raw.is_dated(table):
        features[f'{prefix}: age in days'] = f'(s.until - {alias}.time) / 86400.0'
    for column in plan.columns[table]:
        sql = number_of(raw, column, alias)
        if column.kind == 'datetime':
            # As an age alone: trees cannot go on from a date to later ones.
            features[f'{prefix}: {column.name}, days ago'] = (
                f'(s.until - {sql}) / 86400.0'
            )
        else:
            features[f'{prefix}: {column.name}'] = sql
    if not features:
        return pd.DataFrame()
    out = ', '.join(
        f'CAST({sql} AS FLOAT) AS f{i}' for i, sql in enumerate(features.values())
    )
    query = f'SELECT {out} FROM seeds s {joins} ORDER BY s.id'
    return _fetch(inputs, query, list(features))


def _history_features(
    inputs: Inputs, history: History, key: str, windows: dict[str, int]
) -> pd.DataFrame:
    connection = raw_tables(inputs).connection
    connection.execute(
        'CREATE OR REPLACE TEMP TABLE keyed AS '
        f'SELECT s.id, s.until, {key} AS key FROM seeds s'
    )
    keyed = connection.execute('SELECT key, until FROM keyed ORDER BY id').fetchnumpy()
    keys = np.ma.filled(keyed['key'], -1)
    features = history.features(connection, keys, keyed['until'], windows)
    return pd.DataFrame(features).astype(np.float32)


def _label_features(inputs: Inputs, windows: dict[str, int]) -> list[pd.DataFrame]:
    # A label is known from time + horizon on, and never at its own time.
    raw, entity_table = raw_tables(inputs), inputs.task.entity_table
    horizon = max(1, int(np.ceil(inputs.task.horizon.total_seconds())))
    frame = pd.DataFrame(
        {
            'entity': inputs.task.frame['entity'].to_numpy(),
            'time': inputs.times + horizon,
            'row': np.arange(len(inputs.times)),
            'label': inputs.labels,
        }
    ).dropna()
    raw.connection.register('given', frame)
    raw.connection.execute(
        'CREATE OR REPLACE TEMP TABLE known_labels AS SELECT * FROM given'
    )
    raw.connection.unregister('given')
    values = _label_values(inputs)
    columns = ''.join(f', {sql} AS v{i}' for i, sql in enumerate(values.values()))
    is_number = inputs.kind != 'multiclass_classification'
    names = {'numbers' if is_number else 'indicators': list(values)}
    parts = []
    for name, key in (('own labels', 'entity'), ('all labels', '0')):
        query = f'SELECT {key} AS key, time, row{columns} FROM known_labels'
        key = 's.entity' if key == 'entity' else '0'
        history = History(name, query, **names)
        parts.append(_history_features(inputs, history, key, windows))
    for step in steps_from(raw, entity_table):
        if not step.up:
            continue
        # What shares a parent is known to do so once its own row is known.
        own_time = time_of(raw, entity_table, 'e')
        query = (
            f'SELECT l.parent AS key, greatest(k.time, {own_time}) AS time, k.row '
            f'AS row{columns} FROM known_labels k, '
            f'({link(raw, step)}) l, {raw.name(entity_table)} e '
            'WHERE l.row = k.entity AND e.row = k.entity'
        )
        history = History(f'labels of the same {step.fkey}', query, **names)
        key = _known_parent(inputs, (step,))
        parts.append(_history_features(inputs, history, key, windows))
    return parts


def _label_values(inputs: Inputs) -> dict[str, str]:
    # The label, or for each class that is frequent among train rows whether it is.
    if inputs.kind != 'multiclass_classification':
        return {'label': 'label'}
    train = inputs.labels[inputs.rows('train')]
    codes, counts = np.unique(train[~np.isnan(train)], return_counts=True)
    frequent = codes[np.argsort(-counts, kind='stable')][:NUM_CLASSES]
    return {
        f'label={int(code)}': f'CAST(label = {int(code)} AS DOUBLE)'
        for code in frequent
    }


def _calendar(until: np.ndarray) -> pd.DataFrame:
    date = pd.to_datetime(pd.Series(until), unit='s')
    columns = {
        'year': date.dt.year + date.dt.day_of_year / 366,
        'day of the year': date.dt.day_of_year,
    }
    return pd.DataFrame(columns).astype(np.float32)
