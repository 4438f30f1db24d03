from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.audit.macros import MACROS

if TYPE_CHECKING:
    from relbench.base import Database

_INSTALL = 'pip install "torch-geometric-rfm[relbench]"'
_ISO_DATE = r'^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2})?.*)?$'


class RawTables:
    r"""The data frames of a database as DuckDB tables, for audits.

    Nothing is taken over from a store. Table :math:`k` is called
    :obj:`t<k>`, its columns :obj:`c0`, :obj:`c1`, ... in the order of the data
    frame; :obj:`row` is the position of a row, and :obj:`time` its unix
    seconds, null where it has none.

    Args:
        db (relbench.base.Database): The database, uncut.
        col_to_stype (dict, optional): What was given to
            :func:`~torch_geometric_rfm.data.to_hetero`.
            (default: :obj:`None`)

    Raises:
        ImportError: If DuckDB is not installed.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> raw = RawTables(toy_database())
        >>> raw.connection.execute('SELECT count(*) FROM t2').fetchone()
        (200,)
    """

    def __init__(
        self,
        db: 'Database',
        col_to_stype: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.connection = connect()
        self.tables = db.table_dict
        self.numbers = {name: k for k, name in enumerate(self.tables)}
        self.col_to_stype = col_to_stype or {}
        self._types: dict[str, list[str]] = {}
        for k, (name, table) in enumerate(self.tables.items()):
            columns = list(table.df.columns)
            self._types[name] = load_frame(self.connection, 'loaded', table.df, columns)
            time = 'NULL::BIGINT'
            if table.time_col is not None:
                time = self.seconds(name, table.time_col)
            self.connection.execute(
                f'CREATE TABLE t{k} AS SELECT *, {time} AS time FROM loaded'
            )
            self.connection.execute('DROP TABLE loaded')

    def name(self, table: str) -> str:
        r"""What a table is called in SQL."""
        return f't{self.numbers[table]}'

    def is_dated(self, table: str) -> bool:
        r"""Whether the rows of a table have times."""
        return self.tables[table].time_col is not None

    def column(self, table: str, column: str) -> str:
        r"""What a column is called in SQL."""
        return f'c{list(self.tables[table].df.columns).index(column)}'

    def features(self, table: str) -> list[str]:
        r"""The columns of a table that are no keys."""
        source = self.tables[table]
        keys = {source.pkey_col, *source.fkey_col_to_pkey_table}
        return [column for column in source.df.columns if column not in keys]

    def type_of(self, table: str, column: str) -> str:
        r"""The DuckDB type of a column."""
        return self._types[table][list(self.tables[table].df.columns).index(column)]

    def seconds(self, table: str, column: str) -> str:
        r"""A column as unix seconds; numbers already are."""
        name, kind = self.column(table, column), self.type_of(table, column)
        if kind == 'VARCHAR' or kind.startswith(('DATE', 'TIMESTAMP')):
            return f'date_seconds({name})'
        return f'number_seconds({name})'

    def values(self, table: str, column: str) -> str:
        r"""A column as numbers, time spans in seconds."""
        name = self.column(table, column)
        if self.type_of(table, column) == 'INTERVAL':
            name = f'epoch({name})'
        return f'as_number({name})'

    def is_datetime(self, table: str, column: str) -> bool:
        r"""Whether a column holds dates, strings that look like them included."""
        declared = self.col_to_stype.get(table, {})
        if column in declared:
            kind = declared[column]
            return str(getattr(kind, 'name', kind)).lower() in ('datetime', 'timestamp')
        kind = self.type_of(table, column)
        if kind != 'VARCHAR':
            return kind.startswith(('DATE', 'TIMESTAMP'))
        series = self.tables[table].df[column]
        if isinstance(series.dtype, pd.CategoricalDtype):
            return False
        name = self.column(table, column)
        found = self.connection.execute(
            f"""
            SELECT count(*) > 0 AND bool_and(regexp_matches(text, ?)) FROM (
                SELECT {name} AS text, row_number() OVER (ORDER BY row) - 1 AS place,
                       count(*) OVER () AS present
                FROM {self.name(table)} WHERE {name} IS NOT NULL
            ) WHERE place % greatest(1, present // 1000) = 0
            """,
            [_ISO_DATE],
        ).fetchone()
        return bool(found and found[0])

    def parent_rows(self, table: str, fkey: str) -> str:
        r"""A query of :obj:`row` and the :obj:`parent` its key leads to."""
        source = self.tables[table]
        parent = source.fkey_col_to_pkey_table[fkey]
        key = self.tables[parent].pkey_col
        query = (
            f'SELECT x.row AS row, y.row AS parent FROM {self.name(table)} x JOIN '
            f'{self.name(parent)} y ON y.{self.column(parent, key)} = '
            f'x.{self.column(table, fkey)}'
        )
        texts = {self.type_of(table, fkey), self.type_of(parent, key)}
        if 'VARCHAR' in texts and len(texts) == 2:  # Strings equal no numbers.
            return f'SELECT row, row AS parent FROM {self.name(table)} WHERE FALSE'
        return query

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({", ".join(self.tables)})'


def connect() -> Any:
    r"""An empty DuckDB database in memory that knows the macros.

    Raises:
        ImportError: If DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ImportError(f'DuckDB is needed to audit contexts: {_INSTALL}') from error
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(MACROS)
    return connection


def load_frame(
    connection: Any, name: str, frame: pd.DataFrame, columns: list[Any]
) -> list[str]:
    r"""Copies columns of a data frame into a temporary table :obj:`name`, as
    :obj:`row`, :obj:`c0`, :obj:`c1`, ...; returns their types.
    """
    import pyarrow as pa

    arrays = [pa.array(np.arange(len(frame), dtype=np.int64))]
    arrays += [_to_arrow(frame[column]) for column in columns]
    names = ['row', *(f'c{i}' for i in range(len(columns)))]
    connection.register('frame', pa.table(arrays, names=names))
    connection.execute(f'CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM frame')
    connection.unregister('frame')
    described = connection.execute(f'DESCRIBE {name}').fetchall()
    return [kind for _, kind, *_ in described[1:]]


def _to_arrow(series: pd.Series) -> Any:
    import pyarrow as pa

    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, UnicodeError):
        # Mixed objects, and strings that UTF-8 cannot hold:
        present = series.notna().tolist()
        texts = [
            str(value).encode('utf-8', 'backslashreplace').decode() if here else None
            for value, here in zip(series.tolist(), present)
        ]
        return pa.array(texts, type=pa.string())
