r"""What a database holds, before anything is built from it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.columns import (
    infer_cell_type,
    to_raw_column,
    to_unix_seconds,
)
from torch_geometric_rfm.data.database import load_database, load_dataset
from torch_geometric_rfm.data.keys import foreign_key_positions, primary_key_index
from torch_geometric_rfm.data.multilabel import open_relbench
from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.task import SPLITS

if TYPE_CHECKING:
    from relbench.base import BaseTask, Database, Dataset, Table

NEEDS_HORIZON = 'needs horizon'
r"""The horizon of a task that does not say when its labels become known."""


def summarize_database(source: Any) -> dict[str, Any]:
    r"""Summarises the tables, keys, columns and tasks of a database.

    Columns are read as :func:`~torch_geometric_rfm.data.to_hetero` reads them.
    What it would refuse is listed under :obj:`errors` of its table, and a task
    that cannot be used under :obj:`problem`; the rest is summarised all the
    same.

    Args:
        source (str, Path, relbench.base.Dataset or relbench.base.Database):
            See :func:`~torch_geometric_rfm.data.load_database`; only a folder,
            a Hub id or a dataset has tasks.

    Returns:
        A dictionary of plain values, ready for JSON.

        - :obj:`name`, :obj:`path`, :obj:`val_timestamp`,
          :obj:`test_timestamp`, :obj:`rows`, :obj:`time_span`
        - :obj:`tables`: a list with :obj:`name`, :obj:`rows`,
          :obj:`primary_key`, :obj:`time_column`, :obj:`time_span`,
          :obj:`foreign_keys` (:obj:`column`, :obj:`parent`,
          :obj:`anomalies`), :obj:`columns` (:obj:`name`, :obj:`type`,
          :obj:`null_share`, :obj:`unique_strings`, :obj:`anomalies`),
          :obj:`anomalies` (by column and kind) and :obj:`errors`
        - :obj:`tasks`: a list with :obj:`name`, :obj:`type`, :obj:`kind`,
          :obj:`entity_table`, :obj:`target`, :obj:`rows` by split,
          :obj:`horizon`, :obj:`trainable` and :obj:`problem`

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> summary = summarize_database(toy_database())
        >>> [(table['name'], table['rows']) for table in summary['tables']]
        [('shops', 4), ('customers', 30), ('orders', 200)]
    """
    dataset = None if hasattr(source, 'table_dict') else load_dataset(source)
    db = load_database(source if dataset is None else dataset)
    key_index = {name: _keys(table, name) for name, table in db.table_dict.items()}
    tables = [
        _summarize_table(name, table, key_index)
        for name, table in db.table_dict.items()
    ]
    spans = [table['time_span'] for table in tables if table['time_span']]
    manifest = getattr(dataset, 'manifest', None)
    return {
        'name': getattr(manifest, 'name', None) or type(dataset or db).__name__,
        'path': None if dataset is None else str(getattr(dataset, 'name_or_path', '')),
        'val_timestamp': _date(getattr(dataset, 'val_timestamp', None)),
        'test_timestamp': _date(getattr(dataset, 'test_timestamp', None)),
        'rows': sum(table['rows'] for table in tables),
        'time_span': [min(s[0] for s in spans), max(s[1] for s in spans)]
        if spans
        else None,
        'tables': tables,
        'tasks': [
            _summarize_task(name, dataset, db)
            for name in (dataset.get_task_names() if dataset else [])
        ],
    }


def _keys(table: 'Table', name: str) -> Any:
    try:
        return primary_key_index(table, name)
    except ValueError as error:
        return error


def _summarize_table(
    name: str, table: 'Table', key_index: dict[str, Any]
) -> dict[str, Any]:
    errors = [str(key_index[name])] if isinstance(key_index[name], ValueError) else []
    anomalies: dict[str, dict[str, int]] = {}
    foreign_keys = []
    # Parents whose own key is at fault count as present, without any key.
    usable = {
        parent: pd.Index([]) if isinstance(index, ValueError) else index
        for parent, index in key_index.items()
    }
    for fkey, parent in table.fkey_col_to_pkey_table.items():
        try:
            _, counts = foreign_key_positions(table, name, fkey, usable)
            anomalies[fkey] = _positive(counts)
        except ValueError as error:
            errors.append(str(error))
        foreign_keys.append(
            {'column': fkey, 'parent': parent, 'anomalies': anomalies.get(fkey, {})}
        )
    span, missing = None, {}
    if table.time_col is not None and table.time_col not in table.df:
        errors.append(
            f"time column '{table.time_col}' of table '{name}' does not exist (columns "
            f'are: {", ".join(map(str, table.df.columns))})'
        )
    elif table.time_col is not None:
        seconds, _ = to_unix_seconds(table.df[table.time_col])
        known = seconds[seconds != MISSING_TIME]
        missing = _positive({'missing time': int(seconds.size - known.size)})
        if known.size:
            ends = (int(known.min()), int(known.max()))
            span = [_date(np.datetime64(second, 's')) for second in ends]
    columns = []
    for column in table.df.columns:
        if column == table.pkey_col or column in table.fkey_col_to_pkey_table:
            continue
        try:
            columns.append(_summarize_column(table.df[column], str(column), name))
        except (TypeError, ValueError) as error:
            errors.append(str(error))
            continue
        if column == table.time_col:
            columns[-1]['anomalies'] |= missing
        anomalies[str(column)] = columns[-1]['anomalies']
    return {
        'name': name,
        'rows': len(table.df),
        'primary_key': table.pkey_col,
        'time_column': table.time_col,
        'time_span': span,
        'foreign_keys': foreign_keys,
        'columns': columns,
        'anomalies': {column: counts for column, counts in anomalies.items() if counts},
        'errors': errors,
    }


def _summarize_column(series: pd.Series, column: str, table: str) -> dict[str, Any]:
    cell_type = infer_cell_type(series, table)
    raw, counts = to_raw_column(series, cell_type, table)
    return {
        'name': column,
        'type': cell_type.name.lower(),
        'null_share': round(counts['null'] / max(1, len(series)), 6),
        'unique_strings': len(raw.vocabulary) if cell_type.is_string else None,
        'anomalies': _positive(counts),
    }


def _summarize_task(name: str, dataset: 'Dataset', db: 'Database') -> dict[str, Any]:
    summary: dict[str, Any] = {
        'name': name,
        'type': None,
        'kind': None,
        'entity_table': None,
        'target': None,
        'rows': {},
        'horizon': None,
        'trainable': False,
        'problem': None,
    }
    try:
        task = dataset.load_task(name)
        summary['type'] = task.task_type.value
        summary['kind'] = getattr(task, 'kind', None)
        summary['entity_table'] = _entity_table(task)
        summary['target'] = getattr(task, 'target_col', None)
        summary['rows'] = {split: _num_rows(task, split) for split in SPLITS}
        summary['horizon'], summary['problem'] = _readiness(task, db)
        summary['trainable'] = summary['problem'] is None
    except Exception as error:  # noqa: BLE001 (a broken task must not hide the others)
        summary['problem'] = f'{type(error).__name__}: {error}'
    return summary


def _entity_table(task: 'BaseTask') -> str:
    if hasattr(task, 'src_entity_table'):
        return f'{task.src_entity_table} → {task.dst_entity_table}'
    return task.entity_table


def _readiness(task: 'BaseTask', db: 'Database') -> tuple[str | None, str | None]:
    # The horizon of a task, and what keeps it from being trained.
    try:
        return _duration(open_relbench(task, db)[0].horizon), None
    except ValueError as error:
        problem = str(error)
    # Without a horizon the task may still be sound, or have another problem too.
    try:
        open_relbench(task, db, horizon='0 days')
    except ValueError as error:
        if str(error) == problem:
            at_once = getattr(task, 'kind', None) == 'autocomplete'
            return _duration(pd.Timedelta(0) if at_once else task.timedelta), problem
    return NEEDS_HORIZON, problem


def _num_rows(task: 'BaseTask', split: str) -> int:
    return len(task.get_table(split, mask_input_cols=False).df)


def _positive(counts: dict[str, int]) -> dict[str, int]:
    return {kind: count for kind, count in counts.items() if count}


def _duration(time: pd.Timedelta) -> str:
    return str(time).removesuffix(' 00:00:00')


def _date(time: Any) -> str | None:
    if time is None or pd.isna(time):
        return None
    return str(pd.Timestamp(time)).removesuffix(' 00:00:00')
