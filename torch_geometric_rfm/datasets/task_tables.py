r"""The tables of a database, as the SQL of generated tasks sees them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.columns import (
    infer_cell_type,
    to_raw_column,
    to_unix_seconds,
)
from torch_geometric_rfm.data.keys import foreign_key_positions, primary_key_index
from torch_geometric_rfm.data.raw_table import MISSING_TIME

if TYPE_CHECKING:
    from relbench.base import Database


@dataclass
class TaskTable:
    r"""A table: keys as positions, times as unix seconds, columns as numbers.

    Args:
        name: Its name.
        entity_col: Its primary key, :obj:`"row"` if it has none.
        num_rows: Number of rows.
        time: :obj:`[rows]` unix seconds, :obj:`MISSING_TIME` where there is
            none; :obj:`None` if undated.
        parents: For each foreign key the parent table and :obj:`[rows]` its row,
            -1 where null.
        cell_types: The cell type of each column.
        values: :obj:`[rows]` of each column, NaN where missing; strings are codes.
    """

    name: str
    entity_col: str
    num_rows: int
    time: NDArray[np.int64] | None
    parents: dict[str, tuple[str, NDArray[np.int64]]]
    cell_types: dict[str, CellType]
    values: dict[str, NDArray[np.float64]]

    @property
    def label_columns(self) -> list[str]:
        r"""Columns that can be predicted: numbers and booleans."""
        kinds = (CellType.NUMBER, CellType.BOOLEAN)
        return [name for name, kind in self.cell_types.items() if kind in kinds]

    def to_frame(self) -> pd.DataFrame:
        r"""Columns :obj:`row`, :obj:`time`, and :obj:`key_<i>` and
        :obj:`value_<i>` by the order of foreign keys and label columns.
        """
        out: dict[str, Any] = {'row': np.arange(self.num_rows)}
        time = self.time
        if time is None:
            time = np.full(self.num_rows, MISSING_TIME)
        out['time'] = pd.array(time, dtype='Int64')
        out['time'][time == MISSING_TIME] = pd.NA
        for i, (_, parent) in enumerate(self.parents.values()):
            out[f'key_{i}'] = pd.array(parent, dtype='Int64')
            out[f'key_{i}'][parent < 0] = pd.NA
        for i, column in enumerate(self.label_columns):
            out[f'value_{i}'] = pd.array(self.values[column], dtype='Float64')
        return pd.DataFrame(out)


def read_task_tables(db: 'Database') -> dict[str, TaskTable]:
    r"""The tables of a database by name.

    Raises:
        ValueError: As :func:`~torch_geometric_rfm.data.to_hetero` does.
    """
    key_index = {
        name: primary_key_index(table, name) for name, table in db.table_dict.items()
    }
    tables = {}
    for name, table in db.table_dict.items():
        time = None
        if table.time_col is not None:
            time = to_unix_seconds(table.df[table.time_col])[0]
        keys = table.fkey_col_to_pkey_table
        cell_types, values = {}, {}
        for column in table.df.columns:
            if column in keys or column in (table.pkey_col, table.time_col):
                continue
            cell_type = infer_cell_type(table.df[column], name)
            raw, _ = to_raw_column(table.df[column], cell_type, name)
            absent = -1 if cell_type.is_string else MISSING_TIME
            value = raw.values.astype(np.float64)
            if raw.values.dtype.kind == 'i':
                value[raw.values == absent] = np.nan
            cell_types[str(column)], values[str(column)] = cell_type, value
        tables[name] = TaskTable(
            name=name,
            entity_col=table.pkey_col or 'row',
            num_rows=len(table.df),
            time=time,
            parents={
                fkey: (parent, foreign_key_positions(table, name, fkey, key_index)[0])
                for fkey, parent in keys.items()
            },
            cell_types=cell_types,
            values=values,
        )
    return tables


def connect(tables: dict[str, TaskTable]) -> Any:
    r"""A DuckDB connection in memory with the tables, as :meth:`TaskTable.to_frame`
    lays them out, by the order of their names: :obj:`table_<i>`.

    Raises:
        ImportError: If DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ImportError(
            'DuckDB is needed to generate tasks: '
            'pip install "torch-geometric-rfm[relbench]"'
        ) from error
    connection = duckdb.connect(':memory:')
    # One thread adds numbers in one order, so that labels are the same each time.
    connection.execute('SET threads = 1')
    for i, table in enumerate(tables.values()):
        connection.register('incoming', table.to_frame())
        connection.execute(f'CREATE TABLE table_{i} AS FROM incoming')
        connection.unregister('incoming')
    return connection
