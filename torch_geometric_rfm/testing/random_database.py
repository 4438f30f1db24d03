from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import Task

if TYPE_CHECKING:
    from relbench.base import Database

START = pd.Timestamp('1969-12-01')
_NUM_DAYS = 60


def random_database(seed: int = 0, dated: bool = True) -> 'Database':
    r"""A small relational database with everything that goes wrong in real ones.

    Undated tables, missing and equal times, keys to the table itself, several
    keys to one table, null and dangling keys, tables of keys alone, and
    columns that are constant, empty, infinite or heavy-tailed. The first table
    has a primary key, and can be asked about.

    Args:
        seed (int): Seed of schema and rows. (default: :obj:`0`)
        dated (bool): Whether tables may have times. (default: :obj:`True`)

    Example:
        >>> random_database(seed=1)
        Database(table_0=16, table_1=23, table_2=28)
    """
    from relbench.base import Database, Table

    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 30, rng.integers(2, 6))
    # Positions are not keys: keys are shuffled, and strings in some tables.
    keys = [_primary_keys(size, rng) for size in sizes]
    tables = {}
    for t, size in enumerate(sizes):
        columns: dict[str, Any] = {}
        if t == 0 or rng.random() < 0.8:
            columns['id'] = keys[t]
        else:
            keys[t] = None
        fkeys = {}
        for k in range(rng.integers(0 if t == 0 else 1, 4)):
            parent = int(rng.integers(0, t + 1))
            if keys[parent] is None:
                continue
            columns[f'key_{k}'] = _foreign_keys(keys[parent], size, rng)
            fkeys[f'key_{k}'] = f'table_{parent}'
        time_col = None
        if dated and rng.random() < 0.75:
            time_col = 'time'
            columns['time'] = random_times(size, rng, missing=rng.choice([0.0, 0.2]))
        for c in range(rng.integers(0, 6)):
            columns[f'column_{c}'] = _feature(size, rng)
        frame = pd.DataFrame(columns, index=np.arange(size) + rng.integers(0, 5))
        tables[f'table_{t}'] = Table(
            frame, fkeys, 'id' if 'id' in columns else None, time_col
        )
    return Database(tables)


def random_task(
    db: 'Database', seed: int = 0, kind: str = 'forecast', binary: bool = False
) -> Task:
    r"""A task on the first table of a random database, with random labels.

    Args:
        db (relbench.base.Database): The database.
        seed (int): Seed of the labels. (default: :obj:`0`)
        kind (str): :obj:`"forecast"` has a random horizon and any times,
            :obj:`"autocomplete"` asks about each dated row at its own time,
            with horizon zero and up to three hidden columns.
            (default: :obj:`"forecast"`)
        binary (bool): Whether labels are booleans. (default: :obj:`False`)

    Example:
        >>> random_task(random_database(), kind='autocomplete').horizon
        Timedelta('0 days 00:00:00')
    """
    rng = np.random.default_rng((seed, 1))
    table = db.table_dict['table_0']
    size = len(table.df)
    hidden: list[tuple[str, str]] = []
    horizon = pd.Timedelta(0)
    if kind == 'autocomplete':
        entity = np.arange(size)
        time = pd.Series(random_times(size, rng))
        if table.time_col is not None:
            time = table.df[table.time_col].reset_index(drop=True).fillna(time)
        pairs = [
            (name, column)
            for name, other in db.table_dict.items()
            for column in other.df.columns
            if column.startswith('column_')
        ]
        chosen = rng.permutation(len(pairs))[:3]
        hidden = [pairs[i] for i in chosen]
    else:
        entity = rng.integers(0, size, 60)
        time = pd.Series(random_times(60, rng))
        horizon = pd.Timedelta(int(rng.integers(0, 20 * 86_400)), unit='s')
    label = rng.normal(5.0, 3.0, len(entity))
    if binary:
        label = (label > 5).astype(np.float64)
    label[rng.random(len(entity)) < 0.1] = np.nan
    val = START + pd.Timedelta(int(rng.integers(10, 40)), unit='D')
    test = val + pd.Timedelta(10, unit='D')
    split = np.where(time < test, 'val', 'test')
    split = np.where(time + horizon <= val, 'train', split)
    return Task(
        name='random-task',
        entity_table='table_0',
        entity_col='id',
        time_col='asked_at',
        target_col='label',
        cell_type=CellType.BOOLEAN if binary else CellType.NUMBER,
        horizon=horizon,
        frame=pd.DataFrame(
            {'entity': entity, 'time': time, 'label': label, 'split': split}
        ),
        hidden_columns=hidden,
        cutoffs={'train': val, 'val': val, 'test': test},
    )


def random_times(size: int, rng: np.random.Generator, missing: float = 0.0) -> Any:
    r"""Times of few distinct values, around the beginning of 1970."""
    if rng.random() < 0.7:  # Whole days: many are equal.
        seconds = rng.integers(0, _NUM_DAYS, size) * 86_400
    else:
        seconds = rng.integers(0, _NUM_DAYS * 86_400, size)
    times = pd.Series(START + pd.to_timedelta(seconds, unit='s'))
    times[rng.random(size) < missing] = pd.NaT
    return times.to_numpy()


def _primary_keys(size: int, rng: np.random.Generator) -> Any:
    keys = rng.permutation(size) + int(rng.integers(0, 100))
    return keys if rng.random() < 0.5 else np.array([f'k{key}' for key in keys], object)


def _foreign_keys(parents: Any, size: int, rng: np.random.Generator) -> Any:
    # Some parents are hubs, some keys null, some lead nowhere.
    position = (len(parents) * rng.random(size) ** rng.choice([1, 3])).astype(np.int64)
    keys = np.asarray(parents)[position].astype(object)
    kind = rng.random(size)
    keys[kind < 0.1] = None
    keys[kind > 0.95] = 'nowhere' if isinstance(parents[0], str) else 10_000
    return keys


def _feature(size: int, rng: np.random.Generator) -> Any:
    kind = rng.integers(0, 11)
    gaps = rng.random(size) < 0.2
    if kind == 0:
        return np.where(gaps, np.nan, rng.normal(100.0, 3.0, size))
    if kind == 1:
        return rng.integers(-5, 5, size)
    if kind == 2:
        return _with_gaps(rng.random(size) < 0.5, gaps)
    if kind == 3:
        return rng.random(size) < 0.5
    if kind == 4:
        return random_times(size, rng, missing=0.2)
    if kind == 5:
        return _with_gaps(rng.choice(['red', 'green', 'blue'], size), gaps)
    if kind == 6:
        return np.array([f'some text {i}' for i in rng.integers(0, 1000, size)], object)
    if kind == 7:
        return np.full(size, rng.choice([0.1, 0.0, -3e8]))
    if kind == 8:
        return np.full(size, np.nan)
    if kind == 9:
        return np.where(gaps, np.inf, rng.normal(0.0, 1.0, size))
    return rng.standard_cauchy(size) * 1e6


def _with_gaps(values: Any, gaps: Any) -> Any:
    out = values.astype(object)
    out[gaps] = None
    return out
