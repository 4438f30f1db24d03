from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.class_labels import encode_classes
from torch_geometric_rfm.data.database import load_database, load_dataset
from torch_geometric_rfm.data.horizon import to_horizon
from torch_geometric_rfm.data.keys import entity_rows
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_splits import (
    check_splits,
    find_cutoffs,
    split_by_time,
)

if TYPE_CHECKING:
    from relbench.base import Database

_KINDS = (CellType.NUMBER, CellType.BOOLEAN, CellType.CATEGORY)


def task_from_frame(
    frame: pd.DataFrame,
    db: Any,
    entity_table: str,
    horizon: Any = None,
    *,
    name: str = 'task',
    entity_col: str | None = None,
    time_col: str | None = None,
    target_col: str | None = None,
    split_col: str | None = None,
    known_col: str | None = None,
    cell_type: str | CellType | None = None,
    val_timestamp: Any = None,
    test_timestamp: Any = None,
    hidden_columns: Sequence[tuple[str, str]] = (),
    classes: Sequence[Any] | None = None,
) -> Task:
    r"""A task of a data frame of labels; see
    :meth:`~torch_geometric_rfm.data.Task.from_frame`.
    """
    source = db if hasattr(db, 'table_dict') else load_dataset(db)
    database = load_database(source)
    where = f"the labels of task '{name}'"
    check_name(name, entity_table, database)
    if len(frame) == 0:
        raise ValueError(f'{where} have no rows')
    if split_col is None and 'split' in frame and target_col != 'split':
        split_col = 'split'
    taken = [split_col, known_col]
    entity_col, time_col, target_col = choose_columns(
        frame, database, entity_table, (entity_col, time_col, target_col), taken, where
    )
    time = _times(frame, time_col, where)
    if frame[entity_col].isna().any():
        row = int(np.flatnonzero(frame[entity_col].isna())[0])
        raise ValueError(
            f"{where} name no entity in row {row} (column '{entity_col}' is null); "
            'drop such rows'
        )
    entity = entity_rows(database, entity_table, frame[entity_col], name)
    _check_unique(frame, entity, time, entity_col, time_col, where)
    known = None if known_col is None else _times(frame, known_col, where)
    window = _horizon(horizon, time, known, where)
    kind, label = _labels(frame[target_col], cell_type, target_col, where)
    val, test = find_cutoffs(source, val_timestamp, test_timestamp)
    if split_col is not None:
        split = check_splits(frame[split_col], f"column '{split_col}' of {where}")
        first = time.groupby(split).min()
        begin = first.get('val', time.max())
        if val is None and (time[split == 'train'] > begin).any():
            raise ValueError(
                f'train rows of {where} are later than val rows (first is {begin}): '
                'pass val_timestamp= and test_timestamp=; statistics look up to them'
            )
        val = first.get('val', time.max()) if val is None else val
        test = first.get('test', time.max()) if test is None else test
    elif val is None or test is None:
        raise ValueError(
            f'{where} need val_timestamp= and test_timestamp=, which cut train, val '
            "and test apart, as the database has none of its own; or a column 'split'"
        )
    else:
        split = split_by_time(time, window, val, test)
    names: list[str] = []
    others: list[str] = []
    if kind == CellType.CATEGORY:
        try:
            label, names, others = encode_classes(label, split == 'train', classes)
        except ValueError as error:
            raise ValueError(f"column '{target_col}' of {where}: {error}") from error
    elif classes is not None:
        raise ValueError(
            f'{where} are of type {kind.name.lower()} and have no classes (got '
            f"{list(classes)}); pass cell_type='category'"
        )
    columns = {'entity': entity, 'time': time.to_numpy(), 'label': label}
    task = Task(
        name=name,
        entity_table=entity_table,
        entity_col=entity_col,
        time_col=time_col,
        target_col=target_col,
        cell_type=kind,
        horizon=window,
        frame=pd.DataFrame(columns).assign(split=split),
        hidden_columns=_hidden(hidden_columns, database, name),
        cutoffs={'train': val, 'val': val, 'test': test},
        classes=names,
        other_classes=others,
    )
    task.validate()
    return task


def check_name(name: str, entity_table: str, db: 'Database') -> None:
    r"""Checks the name and the entity table of a task.

    Raises:
        ValueError: If the name is that of a table, or the table does not exist.
    """
    if name in db.table_dict:
        raise ValueError(
            f"the name of a task must not be that of a table (got '{name}'); pass name="
        )
    if entity_table not in db.table_dict:
        raise ValueError(
            f"entity_table must be a table of the database (got '{entity_table}', "
            f'known are: {", ".join(db.table_dict)})'
        )


def choose_columns(
    frame: pd.DataFrame,
    db: 'Database',
    entity_table: str,
    given: tuple[str | None, str | None, str | None],
    others: Sequence[str | None],
    where: str,
) -> tuple[str, str, str]:
    r"""The columns of entities, times and labels: those given, else the only ones that
    can be.

    Raises:
        ValueError: If a column does not exist, or columns cannot be told apart.
    """
    known = ', '.join(map(str, frame.columns))
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise ValueError(
            f"{where} have a column '{repeated[0]}' twice (columns are: {known})"
        )
    for column in (*given, *others):
        if column is not None and column not in frame:
            raise ValueError(
                f"{where} have no column '{column}' (columns are: {known})"
            )
    entity_col, time_col, target_col = given
    if entity_col is None:
        entity_col = db.table_dict[entity_table].pkey_col
        if entity_col is None or entity_col not in frame:
            raise ValueError(
                f"{where} name no entity: they have no column '{entity_col}', the "
                f"primary key of '{entity_table}' (columns are: {known}). Pass "
                'entity_col=, or rename it.'
            )
    taken = {entity_col, time_col, target_col, *others}
    free = [column for column in frame if column not in taken]
    if time_col is None:
        times = [c for c in free if _is_time(frame[c])]
        time_col = _single(times, 'time_col', 'column of datetimes', where, known)
        free.remove(time_col)
    if target_col is None:
        target_col = _single(free, 'target_col', 'further column', where, known)
    return entity_col, time_col, target_col


def _single(found: list[str], argument: str, what: str, where: str, known: str) -> str:
    if len(found) != 1:
        raise ValueError(
            f'{where} must have one {what}, or {argument}= say which (got '
            f'{found or "none"}, columns are: {known})'
        )
    return found[0]


def _is_time(series: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return True
    return pd.api.types.infer_dtype(series, skipna=True) in ('datetime', 'date')


def _times(frame: pd.DataFrame, column: str, where: str) -> pd.Series:
    if not _is_time(frame[column]):
        raise ValueError(
            f"column '{column}' of {where} must hold datetimes (got "
            f'{frame[column].dtype}); convert it, as with pd.to_datetime'
        )
    time = pd.to_datetime(frame[column], utc=True).dt.tz_localize(None)
    if time.isna().any():
        row = int(np.flatnonzero(time.isna())[0])
        raise ValueError(
            f"column '{column}' of {where} has no time in row {row}; drop such rows"
        )
    return time.reset_index(drop=True)


def _check_unique(
    frame: pd.DataFrame,
    entity: np.ndarray,
    time: pd.Series,
    entity_col: str,
    time_col: str,
    where: str,
) -> None:
    repeated = pd.DataFrame({'entity': entity, 'time': time}).duplicated().to_numpy()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise ValueError(
            f'{where} have {int(repeated.sum())} rows of an entity and time that '
            f'stand before already (first is row {row}: {entity_col} '
            f'{frame[entity_col].iloc[row]!r}, {time_col} {time[row]}); keep one each'
        )


def _horizon(
    horizon: Any, time: pd.Series, known: pd.Series | None, where: str
) -> pd.Timedelta:
    if (horizon is None) == (known is None):
        raise ValueError(
            f'{where} must say when they become known: pass horizon=, for example '
            "horizon='30 days', or known_col=, a column of the times (got "
            f'{"neither" if horizon is None else "both"})'
        )
    if known is None:
        return to_horizon(horizon)
    wait = known - time
    if wait.min() < pd.Timedelta(0):
        raise ValueError(f'{where} are known before their time (got {wait.min()})')
    return wait.max()


def _labels(
    series: pd.Series, cell_type: str | CellType | None, column: str, where: str
) -> tuple[CellType, np.ndarray]:
    what = f"column '{column}' of {where}"
    if series.isna().all():
        raise ValueError(f'{what} has no values: all {len(series)} are missing')
    if cell_type is None:
        cell_type = _infer(series, what)
    kind = CellType.from_name(cell_type) if isinstance(cell_type, str) else cell_type
    if kind not in _KINDS:
        raise ValueError(
            f'{where} must be of cell_type number, boolean or category (got '
            f'{kind.name.lower()!r})'
        )
    if kind == CellType.CATEGORY:
        label = series.astype(object).where(series.notna(), None)
        return kind, label.to_numpy(dtype=object)
    try:
        label = series.astype(object).where(series.notna(), np.nan)
        return kind, label.to_numpy().astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{what} must hold {kind.name.lower()} labels (got {series.dtype}): {error}'
        ) from error


def _infer(series: pd.Series, what: str) -> str:
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind == 'boolean':
        return 'boolean'
    if kind in ('integer', 'floating', 'decimal', 'mixed-integer-float'):
        return 'boolean' if series.dropna().isin([0, 1]).all() else 'number'
    if kind in ('string', 'categorical'):
        return 'category'
    raise ValueError(f'{what} must hold numbers, booleans or strings (got {kind})')


def _hidden(
    columns: Sequence[tuple[str, str]], db: 'Database', name: str
) -> list[tuple[str, str]]:
    for pair in columns:
        if len(pair) != 2 or pair[0] not in db.table_dict:
            raise ValueError(
                f"hidden_columns of task '{name}' must be pairs of a table and a "
                f'column (got {pair!r}, tables are: {", ".join(db.table_dict)})'
            )
        if pair[1] not in db.table_dict[pair[0]].df:
            raise ValueError(
                f"hidden_columns of task '{name}' names column '{pair[1]}', which "
                f"table '{pair[0]}' lacks"
            )
    return [(table, column) for table, column in columns]
