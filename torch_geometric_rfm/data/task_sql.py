from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.database import load_database, load_dataset
from torch_geometric_rfm.data.horizon import to_horizon
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_frame import task_from_frame
from torch_geometric_rfm.data.task_splits import find_cutoffs

if TYPE_CHECKING:
    from relbench.base import Database

Tables = dict[str, pd.DataFrame]


def task_from_sql(
    sql: str | Path,
    db: Any,
    entity_table: str,
    horizon: Any = None,
    *,
    name: str = 'task',
    timestamps: Any = None,
    check_horizon: bool = True,
    make: Callable[..., Task] = task_from_frame,
    gather: Callable[[pd.DataFrame, list[str], str], pd.DataFrame] | None = None,
    **kwargs: Any,
) -> Task:
    r"""A task of a label query; see
    :meth:`~torch_geometric_rfm.data.Task.from_sql`. What makes it of the result, and
    brings the result to one row of an entity and time, differ for links.
    """
    source = db if hasattr(db, 'table_dict') else load_dataset(db)
    database = load_database(source)
    query = Path(sql).read_text() if isinstance(sql, Path) else sql
    where = f"the SQL of task '{name}'"
    window = None if horizon is None else to_horizon(horizon)
    for word in ('{horizon}', '{timedelta}'):
        if word in query:
            if window is None:
                raise ValueError(f'{where} has {word}; pass horizon=')
            query = query.replace(word, f'{window.total_seconds():.0f} seconds')
    cutoffs = find_cutoffs(
        source, kwargs.get('val_timestamp'), kwargs.get('test_timestamp')
    )
    extra = _timestamps(database, timestamps, window, cutoffs)
    frame = run_query(query, database, extra, where=where)
    if len(frame) == 0:
        raise ValueError(f'{where} returns no rows')
    if 'val_timestamp' not in kwargs:
        kwargs['val_timestamp'] = cutoffs[0]
    if 'test_timestamp' not in kwargs:
        kwargs['test_timestamp'] = cutoffs[1]
    task = make(frame, database, entity_table, horizon, name=name, **kwargs)
    if check_horizon:
        keys = [task.entity_col, task.time_col]
        if gather is not None:
            frame = gather(frame, keys, task.target_col)
        for cutoff in sorted(set(task.cutoffs.values())):
            cut = run_query(query, database, extra, cutoff, where)
            if gather is not None:
                cut = gather(cut, keys, task.target_col)
            _check_known(task, frame, cut, cutoff, where)
    return task


def run_query(
    query: str,
    db: 'Database',
    extra: Tables | None = None,
    cutoff: Any = None,
    where: str = 'the SQL',
) -> pd.DataFrame:
    r"""The result of a query over the tables of a database, which are views.

    The query can neither write nor reach files.

    Args:
        query (str): One :obj:`SELECT`.
        db (relbench.base.Database): The database.
        extra (dict, optional): Further tables. (default: :obj:`None`)
        cutoff (pd.Timestamp, optional): Rows of dated tables after this time are
            left out. (default: :obj:`None`)
        where (str): What errors call the query.

    Raises:
        ImportError: If DuckDB is not installed.
        ValueError: If it is not one :obj:`SELECT`, or fails.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> run_query('SELECT count(*) AS orders FROM orders', toy_database())
           orders
        0     200
    """
    try:
        import duckdb
    except ImportError as error:
        raise ImportError(
            'DuckDB is needed for tasks of SQL: pip install duckdb'
        ) from error
    with duckdb.connect() as connection:
        try:
            statements = connection.extract_statements(query)
        except duckdb.Error as error:
            raise ValueError(f'{where} is no SQL of DuckDB: {error}') from error
        kinds = [str(statement.type).split('.')[-1] for statement in statements]
        if len(statements) != 1 or not kinds[0].startswith('SELECT'):
            raise ValueError(
                f'{where} must be one SELECT, which reads and does not write (got '
                f'{", ".join(kinds) or "nothing"})'
            )
        for name, table in db.table_dict.items():
            df = table.df
            if cutoff is not None and table.time_col is not None:
                df = df[df[table.time_col] <= cutoff]
            connection.register(name, df)
        for name, df in (extra or {}).items():
            connection.register(name, df)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute('SET python_enable_replacements = false')
        connection.execute('SET enable_external_access = false')
        connection.execute('SET lock_configuration = true')
        try:
            return connection.execute(statements[0]).df()
        except duckdb.Error as error:
            raise ValueError(f'{where} fails: {error}') from error


def _timestamps(
    db: 'Database',
    timestamps: Any,
    window: pd.Timedelta | None,
    cutoffs: tuple[pd.Timestamp | None, pd.Timestamp | None],
) -> Tables:
    if 'timestamps' in db.table_dict:
        if timestamps is not None:
            raise ValueError(
                "timestamps= would hide the table 'timestamps' of the database; leave "
                'it out'
            )
        return {}
    if timestamps is None:
        val, test = cutoffs
        if window is None or window <= pd.Timedelta(0) or val is None or test is None:
            return {}
        last = db.max_timestamp - window
        timestamps = [
            *pd.date_range(val - window, db.min_timestamp, freq=-window)[::-1],
            *pd.date_range(val, test - window, freq=window),
            *pd.date_range(test, max(test, last), freq=window),
        ]
    times = pd.to_datetime(pd.Series(list(timestamps)))
    if times.isna().any():
        raise ValueError('timestamps must not be missing (got NaT)')
    return {'timestamps': pd.DataFrame({'timestamp': times})}


def _check_known(
    task: Task, frame: pd.DataFrame, cut: pd.DataFrame, cutoff: Any, where: str
) -> None:
    r"""Compares the labels that are known by a time with those of the database as
    it was then.
    """
    keys = [task.entity_col, task.time_col]
    known = task.frame['time'] + task.horizon <= cutoff
    target = task.target_col
    then = cut[[*keys, target]].rename(columns={target: 'then'})
    both = frame.loc[known.to_numpy(), [*keys, target]].merge(then, 'left', on=keys)
    now, then = both[target], both['then']
    if pd.api.types.is_numeric_dtype(now) and pd.api.types.is_numeric_dtype(then):
        same = np.isclose(
            now.astype(np.float64), then.astype(np.float64), rtol=1e-6, equal_nan=True
        )
    else:
        same = ((now == then) | (now.isna() & then.isna())).to_numpy(dtype=bool)
    if not same.all():
        row = both.iloc[int(np.flatnonzero(~same)[0])]
        raise ValueError(
            f'{where} needs rows after time + horizon ({task.horizon}): without rows '
            f'after {cutoff}, {int((~same).sum())} of {len(both)} labels differ (first '
            f'is {keys[0]} {row[keys[0]]!r} at {row[keys[1]]}: {row[target]!r}, then '
            f'{row["then"]!r}). Raise horizon= or mend the query; check_horizon=False '
            'takes it as it is, with the leak.'
        )
