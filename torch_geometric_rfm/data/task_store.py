import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.statistics import mean_and_std, normalise
from torch_geometric_rfm.data.task import Task


class TaskArrays(NamedTuple):
    r"""The task table, laid out for compiled code.

    Only rows with a label are listed in :obj:`own_row` and :obj:`label_row`.
    """

    entity: NDArray[np.int64]  # [rows] row of the entity in the store
    time: NDArray[np.int64]  # [rows] unix seconds
    value: NDArray[np.float32]  # [rows] normalised label, NaN where unknown
    own_start: NDArray[np.int64]  # [entities + 1] into `own_row`
    own_row: NDArray[np.int64]  # labelled rows by entity and time
    label_row: NDArray[np.int64]  # labelled rows by time
    first_entity: int  # first row of the entity table
    table: int  # number of the task table
    hidden: NDArray[np.bool_]  # [columns] what this task may not see
    horizon: int  # seconds
    label_type: int
    string: NDArray[np.int64]  # [rows] string of the label, 0 where it is none


class TaskStore:
    r"""A task laid over a :class:`~torch_geometric_rfm.data.CellStore`.

    It adds one table, of the task's labels and times, with statistics from
    train rows alone, and hides the columns that would give labels away.

    Attributes:
        store (CellStore): The database, shared.
        task (Task): The task.
        label_mean, label_std (float): Statistics of the train labels.
        target (Tensor): :obj:`[rows]` labels as the model is asked for them:
            normalised numbers, or 0 and 1; of categories 0, NaN where the class is
            none that may be predicted.
        target_class (Tensor): :obj:`[rows]` numbers of classes, 0 where unknown.
        class_embedding (Tensor): :obj:`[classes, text_channels]` of all classes;
            their strings are numbered after those of the store.
    """

    def __init__(self, store: CellStore, task: Task) -> None:
        if task.entity_table not in store.table_names:
            raise ValueError(
                f"task '{task.name}' is about table '{task.entity_table}', which the "
                f'store lacks (tables are: {", ".join(store.table_names)})'
            )
        self.store = store
        self.task = task
        self.table_names = [*store.table_names, task.name]
        phrases = [
            f'{task.target_col} of {task.name}',
            f'{task.time_col} of {task.name}',
        ]
        self.column_names = [*store.column_names, *phrases]
        self.fkey_names = [*store.fkey_names, f'{task.name}.{task.entity_col}']
        self.column_embedding = torch.cat(
            [store.column_embedding, store.embed(phrases)]
        )
        frame = task.frame
        self.split = frame['split'].to_numpy()
        label = frame['label'].to_numpy(dtype=np.float64)
        self.label_mean, self.label_std = 0.0, 1.0
        string = np.zeros(len(label), dtype=np.int64)
        self.target_class = torch.from_numpy(np.nan_to_num(label).astype(np.int64))
        names = [*task.classes, *task.other_classes]
        self.class_embedding = store.embed(names)
        if task.cell_type == CellType.CATEGORY:
            value = np.where(np.isnan(label), np.nan, 0.0).astype(np.float32)
            known = label < len(task.classes)
            target = np.where(known, 0.0, np.nan).astype(np.float32)
            string = self.target_class.numpy() + len(store.text_embedding)
        else:
            train = label[self.split == 'train']
            self.label_mean, self.label_std = mean_and_std(train)
            normal = normalise(label, self.label_mean, self.label_std)
            value = normal.astype(np.float32)
            boolean = task.cell_type == CellType.BOOLEAN
            target = label.astype(np.float32) if boolean else value.copy()
        self.target = torch.from_numpy(target)
        self.arrays = _build_task_arrays(store, task, value, string)

    def rows_of_split(self, split: str) -> NDArray[np.int64]:
        r"""Rows of the task table that belong to a split.

        Raises:
            ValueError: If there are none.
        """
        rows = np.flatnonzero(self.split == split)
        if rows.size == 0:
            known = ', '.join(sorted(set(self.split)))
            raise ValueError(
                f"task '{self.task.name}' has no rows in split '{split}' (splits are: "
                f'{known})'
            )
        return rows

    def visible_until(
        self, rows: NDArray[np.int64], protocol: str
    ) -> NDArray[np.int64]:
        r"""Up to when the context of each task row may look, in unix seconds.

        Args:
            rows: Rows of the task table.
            protocol: :obj:`"rolling"` for the time of the row itself,
                :obj:`"frozen"` for at most the cutoff of its split.

        Raises:
            ValueError: If the protocol is unknown.
        """
        if protocol not in ('rolling', 'frozen'):
            raise ValueError(
                f"protocol must be 'rolling' or 'frozen' (got '{protocol}')"
            )
        until = self.arrays.time[rows].copy()
        if protocol == 'frozen':
            for split, cutoff in self.task.cutoffs.items():
                chosen = self.split[rows] == split
                until[chosen] = np.minimum(until[chosen], int(cutoff.timestamp()))
        return until

    def denormalise(self, output: NDArray[np.float64]) -> NDArray[np.float64]:
        r"""Model outputs as labels: numbers in their own unit, or probabilities, of
        the logits :obj:`[n, classes]` of categories too.
        """
        if self.task.cell_type == CellType.CATEGORY:
            weight = np.exp(output - output.max(axis=1, keepdims=True))
            return weight / weight.sum(axis=1, keepdims=True)
        if self.task.cell_type == CellType.BOOLEAN:
            return 1.0 / (1.0 + np.exp(-output))
        return output * self.label_std + self.label_mean

    def embed_numbers(self, strings: NDArray[np.int64]) -> Tensor:
        r"""Embeddings :obj:`[len(strings), text_channels]` of strings of the
        database, and of classes, by their numbers.
        """
        table = self.store.text_embedding.numpy()
        embedding = table.take(strings, axis=0, mode='clip')
        is_class = strings >= len(table)
        classes = self.class_embedding.numpy()
        embedding[is_class] = classes[strings[is_class] - len(table)]
        return torch.from_numpy(embedding)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}('{self.task.name}', {self.store})"


def _build_task_arrays(
    store: CellStore,
    task: Task,
    value: NDArray[np.float32],
    string: NDArray[np.int64],
) -> TaskArrays:
    frame = task.frame
    table = store.table_names.index(task.entity_table)
    first = int(store.arrays.table_start[table])
    entity = frame['entity'].to_numpy(dtype=np.int64)
    if frame['time'].isna().any():
        raise ValueError(f"task '{task.name}' has rows without a time (got NaT)")
    time = frame['time'].to_numpy().astype('datetime64[s]').astype(np.int64)
    labelled = np.flatnonzero(~np.isnan(value))
    own = labelled[np.lexsort((time[labelled], entity[labelled]))]
    num_entities = int(store.arrays.table_start[table + 1]) - first
    if entity.size and not 0 <= entity.min() <= entity.max() < num_entities:
        raise ValueError(
            f"entities of task '{task.name}' must be rows of table "
            f"'{task.entity_table}', in [0, {num_entities}) (got {entity.min()} to "
            f'{entity.max()})'
        )
    own_start = np.zeros(num_entities + 1, dtype=np.int64)
    np.cumsum(np.bincount(entity[own], minlength=num_entities), out=own_start[1:])
    by_time = labelled[np.argsort(time[labelled], kind='stable')]
    hidden = np.zeros(len(store.column_names), dtype=bool)
    for table_name, column in task.hidden_columns:
        if f'{table_name}.{column}' in store.fkey_names:
            raise ValueError(
                f"task '{task.name}' hides the foreign key '{column}' of table "
                f"'{table_name}', whose links would give it away. Remove the key from "
                f'the database.'
            )
        if table_name in store.table_names:
            number = store.table_names.index(table_name)
            columns = slice(*store.arrays.column_start[number : number + 2])
            phrase = f'{column} of {table_name}'
            names = store.column_names[columns]
            hidden[columns] |= np.array([name == phrase for name in names], dtype=bool)
    return TaskArrays(
        entity=entity + first,
        time=time,
        value=value,
        own_start=own_start,
        own_row=own,
        label_row=by_time,
        first_entity=first,
        table=len(store.table_names),
        hidden=hidden,
        horizon=math.ceil(task.horizon.total_seconds()),
        label_type=int(task.cell_type),
        string=string,
    )


def empty_task_arrays(store: CellStore) -> Any:
    r"""Task arrays without rows, for contexts of database rows alone."""
    none = np.zeros(0, dtype=np.int64)
    return TaskArrays(
        entity=none,
        time=none,
        value=none.astype(np.float32),
        own_start=np.zeros(1, dtype=np.int64),
        own_row=none,
        label_row=none,
        first_entity=0,
        table=len(store.table_names),
        hidden=np.zeros(len(store.column_names), dtype=bool),
        horizon=0,
        label_type=0,
        string=none,
    )
