r"""From a pandas column to clean values, with what was mended counted."""

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.raw_table import MISSING_TIME, RawColumn

FIRST_YEAR, LAST_YEAR = 1678, 2261
_ISO_DATE = re.compile(r'^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2})?.*)?$')
_MAX_CATEGORIES = 1000


def infer_cell_type(series: pd.Series, table: str) -> CellType:
    r"""The cell type of a column: numbers are numbers, strings with few distinct
    values are categories, other strings are text.

    Raises:
        ValueError: If the column holds lists, images or other objects.
    """
    present = series.dropna()
    if pd.api.types.is_bool_dtype(present.dtype):
        return CellType.BOOLEAN
    if pd.api.types.is_numeric_dtype(series.dtype):
        return CellType.NUMBER
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return CellType.DATETIME
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return CellType.NUMBER
    if present.empty:
        return CellType.NUMBER
    if isinstance(series.dtype, pd.CategoricalDtype):
        return CellType.CATEGORY
    sample = present.iloc[:: max(1, len(present) // 1000)]
    kind = pd.api.types.infer_dtype(sample, skipna=True)
    if kind == 'boolean':
        return CellType.BOOLEAN
    if kind in ('integer', 'floating', 'decimal', 'mixed-integer-float'):
        return CellType.NUMBER
    if kind in ('date', 'datetime', 'datetime64'):
        return CellType.DATETIME
    if kind != 'string':
        raise ValueError(
            f"column '{series.name}' of table '{table}' holds values that are not "
            f'tokenised (got {kind}, for example {sample.iloc[0]!r:.60}). Leave it out '
            f"with col_to_stype={{'{table}': {{'{series.name}': None}}}}."
        )
    if all(_ISO_DATE.match(value) for value in sample):
        return CellType.DATETIME
    num_unique = present.nunique()
    closed = num_unique <= _MAX_CATEGORIES and num_unique <= max(20, 0.1 * len(present))
    return CellType.CATEGORY if closed else CellType.TEXT


def to_unix_seconds(series: pd.Series) -> tuple[NDArray[np.int64], int]:
    r"""Unix seconds of a datetime column, and how many were out of range.

    Missing dates, and those outside the years 1678 to 2261, become
    :obj:`MISSING_TIME`. Numbers already are unix seconds, as in RelBench.
    """
    if pd.api.types.is_numeric_dtype(series.dtype):
        number = _to_float(series, f"column '{series.name}'")
        finite = np.isfinite(number)
        seconds = np.full(len(series), MISSING_TIME, dtype=np.int64)
        seconds[finite] = np.floor(number[finite]).astype(np.int64)
        return seconds, int(np.isinf(number).sum())
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        parsed = pd.to_datetime(series, errors='coerce', utc=True, format='mixed')
        unreadable = int((parsed.isna() & series.notna()).sum())
    else:
        parsed, unreadable = series, 0
    if parsed.dt.tz is not None:
        parsed = parsed.dt.tz_convert('UTC').dt.tz_localize(None)
    year = parsed.dt.year.to_numpy()
    missing = parsed.isna().to_numpy()
    outside = ~missing & ((year < FIRST_YEAR) | (year > LAST_YEAR))
    # Floor, as RelBench does, also before 1970.
    micros = parsed.to_numpy().astype('datetime64[us]').view(np.int64)
    seconds = micros // 1_000_000
    seconds[missing | outside] = MISSING_TIME
    return seconds, unreadable + int(outside.sum())


def to_raw_column(
    series: pd.Series, cell_type: CellType, table: str
) -> tuple[RawColumn, dict[str, int]]:
    r"""The clean values of a column and the number of anomalies by kind.

    Infinite numbers and dates out of range become missing cells.

    Raises:
        ValueError: If the values do not fit the cell type.
    """
    anomalies = {'null': int(series.isna().sum())}
    where = f"column '{series.name}' of table '{table}'"
    if cell_type == CellType.DATETIME:
        seconds, anomalies['date out of range'] = to_unix_seconds(series)
        return RawColumn(cell_type, seconds), anomalies
    if cell_type.is_string:
        if cell_type == CellType.EMBEDDING:
            raise ValueError(f'{where} cannot be an embedding: it holds single values')
        codes, vocabulary = pd.factorize(series)
        strings = [str(value) for value in vocabulary]
        return RawColumn(cell_type, codes.astype(np.int32), strings), anomalies
    numbers = _to_float(series, where)
    infinite = np.isinf(numbers)
    # Frame keeps numbers as float32; what overflows there is infinite here too.
    with np.errstate(over='ignore'):
        infinite |= np.isinf(numbers.astype(np.float32))
    anomalies['infinite'] = int(infinite.sum())
    numbers[infinite] = np.nan
    if cell_type == CellType.BOOLEAN:
        unfit = ~np.isnan(numbers) & (numbers != 0) & (numbers != 1)
        if unfit.any():
            raise ValueError(
                f'{where} is no boolean (got {numbers[unfit][0]:g}). Declare it a '
                f'number or a category in col_to_stype.'
            )
    return RawColumn(cell_type, numbers), anomalies


def _to_float(series: pd.Series, where: str) -> NDArray[np.float64]:
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return series.dt.total_seconds().to_numpy(dtype=np.float64, copy=True)
    values: Any = series
    if series.dtype == object or pd.api.types.is_bool_dtype(series.dtype):
        values = series.astype(object).where(series.notna(), np.nan)
    try:
        return pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan).copy()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{where} is declared a number but holds other values ({error}). Declare '
            f'it a category or text in col_to_stype.'
        ) from error
