from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from torch_geometric_rfm.data import LinkTask, Task

SqlFile = Annotated[
    Path | None,
    typer.Option(
        '--sql', help='file of a DuckDB query that gives entity, time and label'
    ),
]
LabelFile = Annotated[
    Path | None,
    typer.Option('--labels', help='file of entity, time and label (.parquet, .csv)'),
]
EntityTable = Annotated[
    str | None,
    typer.Option(help='table of the entities, of --sql and --labels'),
]
DestinationTable = Annotated[
    str | None,
    typer.Option(
        help='table of what is recommended, where --sql and --labels give links'
    ),
]

NumDestinations = Annotated[
    int | None,
    typer.Option(help='how many rows are recommended, with --destination-table (10)'),
]


def own_task(
    db: Any,
    name: str,
    sql: Path | None,
    labels: Path | None,
    entity_table: str | None,
    horizon: str | None,
    destination_table: str | None = None,
    k: int | None = None,
) -> str | Task:
    r"""The task that options describe, or its name if it is one of the database.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If options do not go together, or the labels are at fault.
    """
    if k is not None and destination_table is None:
        raise ValueError(
            f'--k goes with --destination-table here (got {k}): a task of the database '
            'is scored by its own'
        )
    if sql is None and labels is None:
        given = {'entity': entity_table, 'destination': destination_table}
        for what, table in given.items():
            if table is not None:
                raise ValueError(
                    f"--{what}-table goes with --sql or --labels (got '{table}')"
                )
        return name
    if sql is not None and labels is not None:
        raise ValueError('say either --sql or --labels')
    if entity_table is None:
        raise ValueError('say --entity-table, the table of the entities')
    kind: type[Task] = Task
    options: dict[str, Any] = {'name': name}
    if destination_table is not None:
        kind, options['destination_table'] = LinkTask, destination_table
        options |= {} if k is None else {'k': k}
    if sql is not None:
        return kind.from_sql(sql, db, entity_table, horizon, **options)
    assert labels is not None
    if labels.suffix == '.csv':
        # Only strings may be times; numbers are never read as such.
        frame = pd.read_csv(labels)
        for column in frame.select_dtypes(['object', 'string']):
            frame[column] = _as_times(frame[column])
    elif labels.suffix == '.parquet':
        frame = pd.read_parquet(labels)
    else:
        raise ValueError(f"--labels must end in .parquet or .csv (got '{labels}')")
    return kind.from_frame(frame, db, entity_table, horizon, **options)


def _as_times(series: pd.Series) -> pd.Series:
    try:
        return pd.to_datetime(series, format='ISO8601')
    except (ValueError, TypeError):
        return series
