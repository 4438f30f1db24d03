import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.relbench.links import truths_of
from torch_geometric_rfm.data import (
    CellStore,
    CellType,
    LinkTask,
    Task,
    TaskStore,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)

PROTOCOLS = ('rolling', 'frozen')
SCORED = ('val', 'test')
JOINT_KINDS = ('binary_classification', 'regression')
KINDS = {
    CellType.BOOLEAN: 'binary_classification',
    CellType.CATEGORY: 'multiclass_classification',
    CellType.NUMBER: 'regression',
}


@dataclass
class Inputs:
    r"""A database and one task of it: all that a model may look at.

    Args:
        database: What the results call the database.
        db (relbench.base.Database): The database, uncut.
        task (Task): The task, with the labels of all splits.
        text_encoder: Encoder of the store that some models need.
        source: Where the database's other tasks can be found, if anywhere.
        models: Folder in which trainings that serve several tasks are kept.
        results: The file with the lines of runs that stand.
    """

    database: str
    db: Any
    task: Task
    text_encoder: Any = 'hashing'
    source: Any = None
    models: Path | None = None
    results: Path | None = None
    cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    def cached(self, key: Any, make: Callable[[], Any]) -> Any:
        r"""What is costly and asked for again, kept as long as these inputs."""
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def fresh(self) -> 'Inputs':
        r"""The same inputs with nothing computed yet."""
        return replace(self, cache={})

    def companions(self) -> list[Task]:
        r"""This task and all others of the database that can be learned with it,
        by name.
        """
        if self.source is None:
            return [self.task]
        tasks = [self.task]
        for name in load_dataset(self.source).get_task_names():
            if name == self.task.name:
                continue
            if kind_of_task(self.source, name) not in JOINT_KINDS:
                continue
            tasks.append(open_task(self.source, name, self.db))
        return sorted(tasks, key=lambda task: task.name)

    @property
    def kind(self) -> str:
        r"""The type of the task."""
        if isinstance(self.task, LinkTask):
            return 'recommendation'
        return KINDS[self.task.cell_type]

    @property
    def num_classes(self) -> int:
        r"""How many classes can be predicted, one if the label is no class."""
        return len(getattr(self.task, 'classes', ())) or 1

    @property
    def cutoff(self) -> int:
        r"""The time up to which statistics may look, in unix seconds."""
        return int(self.task.cutoffs['train'].timestamp())

    @property
    def labels(self) -> np.ndarray:
        r"""The labels of all rows of the task table, NaN where unknown."""
        return self.task.frame['label'].to_numpy(dtype=np.float64)

    def truth(self, split: str) -> np.ndarray:
        r"""What predictions of a split are scored by: its labels, or of a
        recommendation which destinations are right.
        """
        if isinstance(self.task, LinkTask):
            return truths_of(self.task, split)
        return self.task.labels_of_split(split)

    @property
    def times(self) -> np.ndarray:
        r"""The times of all rows of the task table, in unix seconds."""
        time = self.task.frame['time'].to_numpy()
        return time.astype('datetime64[s]').astype(np.int64)

    @property
    def train_std(self) -> float:
        r"""The standard deviation of the train labels."""
        return float(np.nanstd(self.labels[self.rows('train')], ddof=1))

    def rows(self, split: str) -> np.ndarray:
        r"""Rows of the task table that belong to a split."""
        return np.flatnonzero((self.task.frame['split'] == split).to_numpy())

    def visible_until(self, rows: np.ndarray, protocol: str) -> np.ndarray:
        r"""Up to when each row of the task table may look, in unix seconds."""
        until = self.times[rows]
        if protocol == 'frozen':
            split = self.task.frame['split'].to_numpy()[rows]
            for name, cutoff in self.task.cutoffs.items():
                frozen = np.minimum(until, int(pd.Timestamp(cutoff).timestamp()))
                until = np.where(split == name, frozen, until)
        return until

    @property
    def store(self) -> TaskStore:
        r"""The store of cells with the task laid over it."""

        def make() -> TaskStore:
            cutoff = self.task.cutoffs['train']
            data, col_stats = to_hetero(self.db, cutoff=cutoff)
            store = CellStore.from_hetero(
                data, col_stats, text_encoder=self.text_encoder, cutoff=cutoff
            )
            return store.with_task(self.task)

        return self.cached('store', make)


def kind_of_task(source: Any, name: str) -> str:
    r"""The type of a task, by RelBench's name."""
    return load_task(source, name).task_type.value


def open_inputs(
    source: Any,
    name: str,
    horizon: Any = None,
    text_encoder: Any = 'hashing',
    models: Path | None = None,
    results: Path | None = None,
) -> Inputs:
    r"""Loads a database, whole, and a task of it.

    Args:
        source: A RelBench folder or Hub id.
        name: The name of the task.
        horizon: When labels become known, for external tasks; what
            :obj:`tasks.json` of a folder says if not given.
        text_encoder, models, results: See :class:`Inputs`.

    Raises:
        ValueError: If there is no such task; the known ones are listed.
    """
    dataset = load_dataset(source)
    db = load_database(dataset)
    task = open_task(source, name, db, horizon)
    database = database_name(source)
    return Inputs(database, db, task, text_encoder, source, models, results)


def open_task(source: Any, name: str, db: Any, horizon: Any = None) -> Task:
    r"""A task of a database that is loaded already."""
    entries = Path(source) / 'tasks.json'
    if horizon is None and entries.exists():
        for entry in json.loads(entries.read_text())['tasks']:
            if entry['name'] == name:
                horizon = entry.get('label_window')
    return Task.from_relbench(load_task(source, name), db, horizon)


def database_name(source: Any) -> str:
    r"""The last part of a folder or Hub id."""
    path = Path(source)
    return path.resolve().name if path.exists() else path.name
