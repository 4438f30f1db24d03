from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.datasets.autocomplete_tasks import (
    autocomplete_columns,
    autocomplete_labels,
    revealing_columns,
    why_no_label,
)
from torch_geometric_rfm.datasets.forecast_tasks import (
    Forecast,
    ForecastTables,
    choose_horizons,
    forecasts_of,
    horizon_name,
)
from torch_geometric_rfm.datasets.foreign_key_path import (
    ForeignKeyPath,
    foreign_key_paths,
)
from torch_geometric_rfm.datasets.task_tables import connect, read_task_tables
from torch_geometric_rfm.datasets.usable_labels import (
    MIN_TRAIN_ROWS,
    MIN_VAL_ROWS,
    Labels,
)

if TYPE_CHECKING:
    from relbench.base import Database

GENERATOR_VERSION = 2
r"""Changes with the tasks that are made of a database by the same arguments."""

_PER_WINDOW = 2


class DroppedTask(NamedTuple):
    r"""A task that was not usable, and why.

    Args:
        name: The name that it would have had.
        reason: Why it was dropped.
    """

    name: str
    reason: str


class GeneratedTasks(list[Task]):
    r"""A list of tasks that knows which ones were dropped.

    Attributes:
        dropped (list[DroppedTask]): The tasks that were not usable.
    """

    def __init__(self, tasks: Sequence[Task] = ()) -> None:
        super().__init__(tasks)
        self.dropped: list[DroppedTask] = []


class TaskMaker:
    r"""Makes tasks of a database; see
    :func:`~torch_geometric_rfm.datasets.generate_tasks`.

    Args:
        db: The database.
        val: When val begins.
        test: When test begins.
        seed: Seed of the choice of tasks and rows.
        max_tasks: The most tasks, all if :obj:`None`.
        max_rows: The most rows of each split of a task.
    """

    def __init__(
        self,
        db: 'Database',
        val: pd.Timestamp,
        test: pd.Timestamp,
        seed: int,
        max_tasks: int | None,
        max_rows: int,
    ) -> None:
        self.tables = read_task_tables(db)
        self.connection = connect(self.tables)
        self.val, self.test = val, test
        self.val_seconds, self.test_seconds = (int(t.timestamp()) for t in (val, test))
        self.rng = np.random.default_rng(seed)
        self.max_tasks, self.max_rows = max_tasks, max_rows
        self.made = GeneratedTasks()
        # In which order entities are taken, the same for all tasks of a table.
        self.rank = {
            name: self.rng.permutation(table.num_rows)
            for name, table in self.tables.items()
        }
        self.paths = foreign_key_paths(self.tables)
        self.num_paths = Counter(path.tables for path in self.paths)

    def make(self, horizons: list[int] | None) -> GeneratedTasks:
        r"""The tasks, with forecasts over given horizons, in seconds."""
        paths, columns = self.paths, autocomplete_columns(self.tables)
        if self.max_tasks is not None:
            paths = [paths[i] for i in self.rng.permutation(len(paths))]
            columns = [columns[i] for i in self.rng.permutation(len(columns))]
        forecasts = chain.from_iterable(self._forecasts(p, horizons) for p in paths)
        autocompletes = self._autocompletes(columns)
        if self.max_tasks is None:
            self.made.extend(chain(forecasts, autocompletes))
            return self.made
        # Two forecasts, an autocomplete, and so on; what is left when one ends.
        for turn in zip_longest(forecasts, forecasts, autocompletes):
            left = self.max_tasks - len(self.made)
            self.made.extend([task for task in turn if task is not None][:left])
            if len(self.made) == self.max_tasks:
                break
        return self.made

    def _forecasts(
        self, path: ForeignKeyPath, horizons: list[int] | None
    ) -> Iterator[Task]:
        name = path.tables
        if self.num_paths[name] > 1:
            name = f'{name}-by-{path.keys}'
        events = ForecastTables(self.connection, self.tables, path)
        val, test = self.val_seconds, self.test_seconds
        if events.count < MIN_TRAIN_ROWS + MIN_VAL_ROWS:
            return self._drop(name, f'{events.count} happenings on this path')
        if horizons is None:
            span = (events.first, events.last, val, test)
            horizons = choose_horizons(events.gaps(val), *span)
            if not horizons:
                return self._drop(name, 'no horizon fits the pace and the splits')
        forecasts = forecasts_of(self.tables[path.events], events.bounds(val))
        for horizon in horizons:
            usable = self._usable(name, events, path, horizon, forecasts)
            if self.max_tasks is not None:
                usable = usable[:_PER_WINDOW]
            for title, forecast, labels in usable:
                yield self._task(
                    title,
                    path.entity,
                    forecast.target_col,
                    forecast.cell_type,
                    labels,
                    horizon=horizon,
                )

    def _usable(
        self,
        name: str,
        events: ForecastTables,
        path: ForeignKeyPath,
        horizon: int,
        forecasts: list[Forecast],
    ) -> list[tuple[str, Forecast, Labels]]:
        if self.max_tasks is not None:
            chosen = self.rng.permutation(len(forecasts))[: 2 * _PER_WINDOW]
            forecasts = [forecasts[i] for i in chosen]
        usable = []
        met: dict[bytes, str] = {}
        found = events.labels(forecasts, horizon, self.val_seconds, self.test_seconds)
        for forecast, labels in zip(forecasts, found):
            title = f'{name}-{forecast.name}-{horizon_name(horizon)}'
            labels = labels.bounded(self.max_rows, self.rank[path.entity])
            reason = labels.why_unusable(forecast.cell_type)
            content = labels.label.tobytes()
            if reason is None and content in met:
                reason = f"the labels are those of '{met[content]}'"
            if reason is None:
                met[content] = title
                usable.append((title, forecast, labels))
            else:
                self._drop(title, reason)
        return usable

    def _autocompletes(self, columns: list[tuple[str, str]]) -> Iterator[Task]:
        for name, column in columns:
            table, title = self.tables[name], f'{name}-{column}'
            cell_type = table.cell_types[column]
            reason = why_no_label(table, column)
            if reason is None:
                labels = autocomplete_labels(
                    self.tables,
                    name,
                    column,
                    self.val_seconds,
                    self.test_seconds,
                    self.max_rows,
                    self.rng,
                )
                reason = labels.why_unusable(cell_type)
            if reason is not None:
                self._drop(title, reason)
                continue
            hidden = revealing_columns(self.tables, name, column, self.rng)
            yield self._task(
                title,
                name,
                column,
                cell_type,
                labels,
                hidden=[(name, column), *hidden],
            )

    def _task(
        self,
        name: str,
        entity_table: str,
        target_col: str,
        cell_type: CellType,
        labels: Labels,
        horizon: int = 0,
        hidden: Sequence[tuple[str, str]] = (),
    ) -> Task:
        task = Task(
            name=name,
            entity_table=entity_table,
            entity_col=self.tables[entity_table].entity_col,
            time_col='timestamp',
            target_col=target_col,
            cell_type=cell_type,
            horizon=pd.Timedelta(horizon, unit='s'),
            frame=labels.to_frame(),
            hidden_columns=list(hidden),
            cutoffs={'train': self.val, 'val': self.val, 'test': self.test},
        )
        task.validate()
        return task

    def _drop(self, name: str, reason: str) -> None:
        self.made.dropped.append(DroppedTask(name, reason))
