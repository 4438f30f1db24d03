from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from relbench.base import Database, Table


def primary_key_index(table: 'Table', name: str) -> pd.Index | None:
    r"""The primary keys of a table in row order, :obj:`None` if it has none.

    Raises:
        ValueError: If the table has no rows, or a key that is missing, null or
            duplicate.
    """
    if len(table.df) == 0:
        raise ValueError(
            f"table '{name}' has no rows. Remove it, and the foreign keys to it, from "
            f'the database.'
        )
    if table.pkey_col is None:
        return None
    if table.pkey_col not in table.df:
        raise ValueError(
            f"primary key '{table.pkey_col}' of table '{name}' does not exist (columns "
            f'are: {", ".join(map(str, table.df.columns))})'
        )
    keys = pd.Index(table.df[table.pkey_col])
    if keys.hasnans:
        row = int(np.flatnonzero(keys.isna())[0])
        raise ValueError(
            f"primary key '{table.pkey_col}' of table '{name}' is null in row {row}. "
            f'Drop such rows or give them a key.'
        )
    if not keys.is_unique:
        value = keys[keys.duplicated()].tolist()[0]
        raise ValueError(
            f"primary key '{table.pkey_col}' of table '{name}' is not unique (got "
            f'{value!r} more than once). Drop the duplicates or choose another key.'
        )
    return keys


def foreign_key_positions(
    table: 'Table', name: str, fkey: str, key_index: dict[str, pd.Index | None]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    r"""Position of the parent row of each row, -1 for null and dangling keys, and
    how many of each there are.

    Raises:
        ValueError: If the column or the parent table does not exist, or the
            parent table has no primary key.
    """
    parent = table.fkey_col_to_pkey_table[fkey]
    where = f"foreign key '{fkey}' of table '{name}'"
    if fkey not in table.df:
        raise ValueError(
            f'{where} does not exist (columns are: '
            f'{", ".join(map(str, table.df.columns))})'
        )
    if parent not in key_index:
        raise ValueError(
            f"{where} leads to table '{parent}', which does not exist (tables are: "
            f'{", ".join(key_index)})'
        )
    keys = key_index[parent]
    if keys is None:
        raise ValueError(
            f"{where} leads to table '{parent}', which has no primary key. Set its "
            f'pkey_col.'
        )
    series = table.df[fkey]
    null = series.isna().to_numpy()
    position = keys.get_indexer(pd.Index(series)).astype(np.int64)
    position[null] = -1
    dangling = int(((position < 0) & ~null).sum())
    return position, {'null key': int(null.sum()), 'dangling key': dangling}


def entity_rows(db: 'Database', table: str, keys: pd.Series, task: str) -> np.ndarray:
    r"""Rows of the entities with given primary keys.

    Raises:
        ValueError: If the table lacks an entity.
    """
    index = primary_key_index(db.table_dict[table], table)
    if index is None:  # RelBench keys such tables by row position.
        index = pd.RangeIndex(len(db.table_dict[table].df))
    rows = index.get_indexer(pd.Index(keys))
    if (rows < 0).any():
        unknown = pd.Series(keys)[rows < 0].tolist()
        raise ValueError(
            f"task '{task}' names {len(unknown)} entities that table '{table}' lacks "
            f'(first is {unknown[0]!r})'
        )
    return rows.astype(np.int64)
