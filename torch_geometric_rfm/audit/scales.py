r"""Means and standard deviations by SQL, up to a cutoff and of all rows."""

from typing import Any, NamedTuple

from torch_geometric_rfm.audit.raw_tables import RawTables


class Scale(NamedTuple):
    r"""A mean and a standard deviation, 0 and 1 without values, 1 if constant."""

    mean: float
    std: float

    def of_boolean(self) -> 'Scale':
        r"""The scale of a boolean column, centred if it is constant."""
        return self if self.std < 1.0 else Scale(0.5, 1.0)

    def score(self, raw: str) -> str:
        r"""The SQL of the score of a raw value."""
        return f'(({raw}) - ({self.mean!r}::DOUBLE)) / ({self.std!r}::DOUBLE)'


class Scales(NamedTuple):
    r"""What a scale must be, and what it is if no row is left out."""

    known: Scale
    all_rows: Scale


def number_scales(
    connection: Any, raw: RawTables, table: str, column: str, cutoff: int
) -> Scales:
    r"""The scales of a number or boolean column."""
    return _query(
        connection,
        f'SELECT {raw.values(table, column)} AS v, {_counted(raw, table, cutoff)} AS '
        f'counted FROM {raw.name(table)}',
    )


def label_scales(connection: Any) -> Scales:
    r"""The scales of the labels; those of train rows count."""
    return _query(
        connection, "SELECT label AS v, split = 'train' AS counted FROM labels"
    )


def datetime_scales(connection: Any, raw: RawTables, cutoff: int) -> Scales:
    r"""The scales of all dates of a database, keys left out."""
    parts = [
        f'SELECT CAST({raw.seconds(table, column)} AS DOUBLE) AS v, '
        f'{_counted(raw, table, cutoff)} AS counted FROM {raw.name(table)}'
        for table in raw.tables
        for column in raw.features(table)
        if raw.is_datetime(table, column)
    ]
    return _query(
        connection,
        ' UNION ALL '.join(parts) or 'SELECT NULL::DOUBLE AS v, TRUE AS counted',
    )


def _counted(raw: RawTables, table: str, cutoff: int) -> str:
    # A row without a time in a dated table never counts.
    return f'coalesce(time <= {cutoff}, FALSE)' if raw.is_dated(table) else 'TRUE'


def _query(connection: Any, values: str) -> Scales:
    known = 'FILTER (WHERE counted)'
    row = connection.execute(
        f"""
        SELECT count(*) {known}, favg(v) {known}, stddev_samp(v) {known},
               count(*), favg(v), stddev_samp(v)
        FROM ({values}) WHERE v IS NOT NULL
        """
    ).fetchone()
    return Scales(_scale(*row[:3]), _scale(*row[3:]))


def _scale(count: int, mean: float | None, std: float | None) -> Scale:
    if count == 0 or mean is None:
        return Scale(0.0, 1.0)
    varies = std is not None and std > 1e-9 * abs(mean)
    return Scale(float(mean), float(std) if varies and std else 1.0)
