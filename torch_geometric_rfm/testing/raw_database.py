from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.columns import infer_cell_type

if TYPE_CHECKING:
    from relbench.base import Database

ALWAYS = np.iinfo(np.int64).min
r"""Time of a row of an undated table."""
NEVER = np.iinfo(np.int64).max
r"""Time of a row without a time in a dated table."""


class RawDatabase:
    r"""Times, keys, values and statistics straight from the data frames.

    It shares no code with the stores beyond the inference of cell types, so
    that contexts can be judged by it.

    Args:
        db (relbench.base.Database): The database.
        cutoff (pd.Timestamp, optional): Statistics count rows up to this time.
            (default: :obj:`None`)
        col_to_stype (dict, optional): What was given to
            :func:`~torch_geometric_rfm.data.to_hetero`, as names of cell
            types. (default: :obj:`None`)
    """

    def __init__(
        self,
        db: 'Database',
        cutoff: Any = None,
        col_to_stype: dict[str, dict[str, str | None]] | None = None,
    ) -> None:
        self.tables = db.table_dict
        self.cutoff = NEVER if cutoff is None else to_seconds(pd.Series([cutoff]))[0]
        self.col_to_stype = col_to_stype or {}
        self._cache: dict[Any, Any] = {}

    def _cached(self, key: Any, make: Any) -> Any:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def time(self, table: str) -> NDArray[np.int64]:
        r"""Unix seconds of the rows, :obj:`ALWAYS` or :obj:`NEVER` without one."""

        def make() -> NDArray[np.int64]:
            source = self.tables[table]
            if source.time_col is None:
                return np.full(len(source.df), ALWAYS)
            seconds = to_seconds(source.df[source.time_col])
            return np.where(source.df[source.time_col].isna(), NEVER, seconds)

        return self._cached(('time', table), make)

    def parent(self, table: str, fkey: str) -> NDArray[np.int64]:
        r"""Position of the parent row of each row, -1 where there is none."""

        def make() -> NDArray[np.int64]:
            source = self.tables[table]
            parent = self.tables[source.fkey_col_to_pkey_table[fkey]]
            keys = parent.df[parent.pkey_col].tolist()
            place = {key: i for i, key in enumerate(keys)}
            found = [place.get(key, -1) for key in source.df[fkey].tolist()]
            return np.array(found, dtype=np.int64)

        return self._cached(('parent', table, fkey), make)

    def numbers(self, table: str, column: str) -> NDArray[np.float64]:
        r"""A column as numbers; NaN where null, infinite or beyond float32."""

        def make() -> NDArray[np.float64]:
            series = self.tables[table].df[column]
            if pd.api.types.is_timedelta64_dtype(series.dtype):
                series = series.dt.total_seconds()
            series = series.astype(object).where(series.notna(), np.nan)
            values = series.to_numpy().astype(np.float64)
            with np.errstate(over='ignore'):
                values[np.isinf(values.astype(np.float32))] = np.nan
            return values

        return self._cached(('numbers', table, column), make)

    def datetimes(self, table: str, column: str) -> NDArray[np.int64]:
        r"""A column as unix seconds, :obj:`ALWAYS` where missing."""

        def make() -> NDArray[np.int64]:
            return to_seconds(self.tables[table].df[column])

        return self._cached(('datetimes', table, column), make)

    def strings(self, table: str, column: str) -> NDArray[Any]:
        r"""A column as strings, :obj:`None` where missing."""

        def make() -> NDArray[Any]:
            series = self.tables[table].df[column]
            missing = series.isna().to_numpy()
            values = [None if m else str(v) for v, m in zip(series.tolist(), missing)]
            return np.array([*values, None], dtype=object)[:-1]

        return self._cached(('strings', table, column), make)

    def counted(self, table: str) -> NDArray[np.bool_]:
        r"""The rows that statistics may count."""
        time = self.time(table)
        return (time <= self.cutoff) & (time != NEVER)

    def scale(self, table: str, column: str) -> tuple[float, float]:
        r"""Mean and standard deviation of a column, up to the cutoff."""

        def make() -> tuple[float, float]:
            return mean_and_std(self.numbers(table, column)[self.counted(table)])

        return self._cached(('scale', table, column), make)

    def datetime_scale(self) -> tuple[float, float]:
        r"""Mean and standard deviation of all datetimes, up to the cutoff."""

        def make() -> tuple[float, float]:
            known = [np.zeros(0)]
            for name, table in self.tables.items():
                keys = {table.pkey_col, *table.fkey_col_to_pkey_table}
                for column in table.df.columns:
                    if column in keys or not self._is_datetime(name, column):
                        continue
                    values = self.datetimes(name, column)[self.counted(name)]
                    known.append(values[values != ALWAYS].astype(np.float64))
            return mean_and_std(np.concatenate(known))

        return self._cached('datetimes', make)

    def _is_datetime(self, table: str, column: str) -> bool:
        declared = self.col_to_stype.get(table, {})
        if column in declared:
            return declared[column] == 'datetime'
        kind = infer_cell_type(self.tables[table].df[column], table)
        return kind == CellType.DATETIME


def to_seconds(series: pd.Series) -> NDArray[np.int64]:
    r"""Unix seconds of datetimes, rounded down, :obj:`ALWAYS` where missing."""
    times = pd.to_datetime(series, utc=True).dt.floor('s')
    # A difference carries its unit, where integers of a datetime do not.
    since = (times - pd.Timestamp(0, tz='UTC')) // pd.Timedelta(1, unit='s')
    return since.fillna(ALWAYS).to_numpy().astype(np.int64)


def mean_and_std(values: NDArray[np.float64]) -> tuple[float, float]:
    r"""By pandas; 0 and 1 without values, standard deviation 1 if constant."""
    series = pd.Series(values).dropna()
    mean = float(series.mean()) if len(series) else 0.0
    constant = len(series) < 2 or series.min() == series.max()
    return mean, 1.0 if constant else float(series.std())
