from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.database import load_database, load_dataset, load_task
from torch_geometric_rfm.data.multilabel import open_relbench
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.data.text_encoder import TextEncoder
from torch_geometric_rfm.data.to_hetero import to_hetero

if TYPE_CHECKING:
    from relbench.base import Database


@dataclass
class _Opened:
    dataset: Any
    db: 'Database'
    stores: dict[Any, CellStore] = field(default_factory=dict)


class OpenedDatabases:
    r"""Databases that are in use, each read once, and laid out as cells once for every
    time up to which statistics may look: the train cutoff of tasks.

    Args:
        text_encoder (TextEncoder): The encoder of their strings.

    Example:
        >>> from torch_geometric_rfm.data import HashingTextEncoder
        >>> from torch_geometric_rfm.testing import toy_database, toy_task
        >>> opened, db = OpenedDatabases(HashingTextEncoder(8)), toy_database()
        >>> first, second = (opened.open_task(db, toy_task(db)) for _ in range(2))
        >>> first.store is second.store
        True
    """

    def __init__(self, text_encoder: TextEncoder) -> None:
        self.text_encoder = text_encoder
        self._opened: dict[Any, _Opened] = {}

    def open_task(self, db: Any, task: Any, horizon: Any = None) -> TaskStore:
        r"""The task of a database, ready to be sampled.

        Args:
            db (str, Path or relbench.base.Dataset): The database.
            task (str, relbench.base.BaseTask or Task): The task.
            horizon (str, optional): For external tasks, when labels become
                known. (default: :obj:`None`)
        """
        opened, task = self._load(db, task)
        if not isinstance(task, Task):
            task = Task.from_relbench(task, opened.db, horizon)
        return self._store_of(opened, task)

    def open_tasks(self, db: Any, task: Any, horizon: Any = None) -> list[TaskStore]:
        r"""The task of a database, or of a multilabel one the task of each label; see
        :meth:`open_task`.
        """
        opened, task = self._load(db, task)
        if isinstance(task, Task):
            return [self._store_of(opened, task)]
        tasks = open_relbench(task, opened.db, horizon)
        return [self._store_of(opened, one) for one in tasks]

    def _load(self, db: Any, task: Any) -> tuple[_Opened, Any]:
        key = str(db) if isinstance(db, (str, Path)) else id(db)
        if key not in self._opened:
            dataset = load_dataset(db)
            self._opened[key] = _Opened(dataset, load_database(dataset))
        opened = self._opened[key]
        if isinstance(task, str):
            task = load_task(opened.dataset, task)
        return opened, task

    def _store_of(self, opened: _Opened, task: Task) -> TaskStore:
        usual = getattr(opened.dataset, 'val_timestamp', None)
        known = [
            time for time in (usual, task.cutoffs.get('train')) if time is not None
        ]
        cutoff = min(known, default=None)
        if cutoff not in opened.stores:
            data, col_stats = to_hetero(opened.db, cutoff=cutoff)
            opened.stores[cutoff] = CellStore.from_hetero(
                data, col_stats, text_encoder=self.text_encoder, cutoff=cutoff
            )
        return opened.stores[cutoff].with_task(task)

    def database_of(self, store: TaskStore) -> 'Database':
        r"""The database of an opened task."""
        return next(
            opened.db
            for opened in self._opened.values()
            if any(one is store.store for one in opened.stores.values())
        )

    def rows_asked(
        self, store: TaskStore, split: str | None, entities: Any, time: Any
    ) -> tuple[TaskStore, str, NDArray[Any]]:
        r"""What predictions are asked for: the task, the split of its rows that are
        meant, and the primary keys of their entities.

        Args:
            store (TaskStore): An opened task.
            split (str, optional): The split; :obj:`"test"` if no entities are given.
            entities (pd.Series, optional): Primary keys of entities without a label,
                which become a split of their own.
            time (pd.Timestamp or pd.Series, optional): When they are asked about.

        Raises:
            ValueError: If there are entities without a time, a time without entities,
                or a split beside them.

        Example:
            >>> from torch_geometric_rfm.data import HashingTextEncoder
            >>> from torch_geometric_rfm.testing import toy_database, toy_task
            >>> opened, db = OpenedDatabases(HashingTextEncoder(8)), toy_database()
            >>> store = opened.open_task(db, toy_task(db))
            >>> _, split, keys = opened.rows_asked(store, None, None, None)
            >>> split, len(keys) == len(store.rows_of_split('test'))
            ('test', True)
        """
        if (entities is None) != (time is None):
            raise ValueError('entities and time go together: give both or neither')
        if entities is None:
            split = split or 'test'
            return store, split, self._keys_of(store, split)
        if split is not None:
            raise ValueError(f"give entities or a split (got split='{split}' too)")
        wider = store.task.with_rows(self.database_of(store), entities, time)
        return store.store.with_task(wider), 'predict', pd.Series(entities).to_numpy()

    def _keys_of(self, store: TaskStore, split: str) -> NDArray[Any]:
        r"""The primary keys of the entities of a split, rows where there are none."""
        entity = store.task.frame['entity'].to_numpy()[store.rows_of_split(split)]
        table = self.database_of(store).table_dict[store.task.entity_table]
        if table.pkey_col is None:
            return entity
        return table.df[table.pkey_col].to_numpy()[entity]
