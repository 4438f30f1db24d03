from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.database import load_database
from torch_geometric_rfm.data.horizon import horizon_of
from torch_geometric_rfm.data.keys import entity_rows, primary_key_index
from torch_geometric_rfm.data.task import SPLITS, Task

if TYPE_CHECKING:
    from pathlib import Path

    from relbench.base import BaseTask, Database


@dataclass
class LinkTask(Task):
    r"""A recommendation task: to which rows of a destination table an entity will
    be linked.

    The label that contexts ask for, and show of the past, is the number of
    destinations. The frame has a further column :obj:`destinations`, the rows of the
    destinations of each row, distinct and in order, empty where unknown.

    Args:
        destination_table: The table of the destinations.
        destination_col: The name of its key in predictions.
        destination_keys: The primary key of each destination.
        k: The number of destinations to recommend.
    """

    destination_table: str = ''
    destination_col: str = ''
    destination_keys: NDArray[Any] = field(default_factory=lambda: np.zeros(0))
    k: int = 10

    @classmethod
    def from_relbench(
        cls,
        task: 'BaseTask',
        db: 'Database | None' = None,
        horizon: Any = None,
        classes: Sequence[Any] | None = None,
    ) -> 'LinkTask':
        r"""Takes over a recommendation task of RelBench, with all splits.

        Args:
            task (relbench.base.BaseTask): The task.
            db (relbench.base.Database, optional): Its database, uncut; loaded
                if not given. (default: :obj:`None`)
            horizon (str or pd.Timedelta, optional): When links become known,
                counted from their time. (default: :obj:`None`)
            classes (sequence, optional): Must not be given, as there are none.

        Raises:
            ValueError: If classes are given, it is no recommendation task, entities
                or destinations do not exist, or a destination stands twice.
        """
        source: Any = task
        name = getattr(task, 'name', None) or type(task).__name__
        if task.task_type.value != 'recommendation':
            raise ValueError(
                f"task '{name}' must be of type recommendation (got "
                f"'{task.task_type.value}')"
            )
        if classes is not None:
            raise ValueError(
                f"task '{name}' is of type 'recommendation' and has no classes (got "
                f'{classes})'
            )
        db = db or load_database(task.dataset)
        keys = destination_keys(db, source.dst_entity_table, name)
        frames = []
        for split in SPLITS:
            frame = task.get_table(split, mask_input_cols=False).df
            lists = frame[source.dst_entity_col].tolist()
            destinations = _positions(lists, keys, source.dst_entity_table, name)
            columns = {
                'entity': entity_rows(
                    db, source.src_entity_table, frame[source.src_entity_col], name
                ),
                'time': pd.to_datetime(frame[source.time_col]).to_numpy(),
                'label': [float(len(rows)) for rows in destinations],
                'destinations': destinations,
            }
            frames.append(pd.DataFrame(columns).assign(split=split))
        dataset = task.dataset
        out = cls(
            name=name,
            entity_table=source.src_entity_table,
            entity_col=source.src_entity_col,
            time_col=source.time_col,
            target_col=source.dst_entity_col,
            cell_type=CellType.NUMBER,
            horizon=horizon_of(task, name, horizon),
            frame=pd.concat(frames, ignore_index=True),
            hidden_columns=[tuple(pair) for pair in task.hidden_columns()],
            cutoffs={
                'train': dataset.val_timestamp,
                'val': dataset.val_timestamp,
                'test': dataset.test_timestamp,
            },
            relbench_task=task,
            destination_table=source.dst_entity_table,
            destination_col=source.dst_entity_col,
            destination_keys=keys.to_numpy(),
            k=int(source.eval_k),
        )
        out.validate()
        return out

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        db: Any,
        entity_table: str,
        horizon: Any = None,
        **kwargs: Any,
    ) -> 'LinkTask':
        r"""A recommendation task of a data frame with an entity, a time and a
        destination, or a list of destinations, in each row.

        Args:
            frame (pd.DataFrame): The links, each once. An entity and time whose
                destination is missing is a row to be predicted.
            db (str, Path, relbench.base.Dataset or relbench.base.Database): The
                database, uncut.
            entity_table (str): The table of the entities.
            horizon (str or pd.Timedelta, optional): When links become known, counted
                from their time. (default: :obj:`None`)
            **kwargs (optional): The following, and those of :meth:`Task.from_frame` but
                :obj:`cell_type` and :obj:`classes`.
            destination_table (str): The table of the destinations.
            target_col (str, optional): The column of keys of destinations; the one
                named as their primary key if not given. (default: :obj:`None`)
            k (int): The number of destinations to recommend. (default: :obj:`10`)

        Raises:
            ValueError: If a destination does not exist, stands twice for an entity
                and time, or is missing beside others; and as in
                :meth:`Task.from_frame`.

        Example:
            >>> from torch_geometric_rfm.testing import toy_database
            >>> frame = pd.DataFrame({
            ...     'customer_id': [3, 3, 7, 5],
            ...     'date': pd.to_datetime(['2021-02-01', '2021-02-01', '2021-05-02',
            ...                             '2021-09-03']),
            ...     'shop_id': [0, 2, 1, 3],
            ... })
            >>> task = LinkTask.from_frame(
            ...     frame, toy_database(), 'customers', '30 days', k=2,
            ...     destination_table='shops',
            ...     val_timestamp='2021-05-01', test_timestamp='2021-09-01')
            >>> task.frame['destinations'][0].tolist()
            [0, 2]
        """
        from torch_geometric_rfm.data.link_frame import link_task_from_frame

        return link_task_from_frame(frame, db, entity_table, horizon, **kwargs)

    @classmethod
    def from_sql(
        cls,
        sql: 'str | Path',
        db: Any,
        entity_table: str,
        horizon: Any = None,
        **kwargs: Any,
    ) -> 'LinkTask':
        r"""A recommendation task of a DuckDB query that gives an entity, a time and a
        destination in each row; see :meth:`Task.from_sql` for what the query sees, and
        :meth:`from_frame` for further arguments, of which :obj:`destination_table` is
        needed.

        Raises:
            ValueError: As in :meth:`from_frame` and :meth:`Task.from_sql`.

        Example:
            >>> from torch_geometric_rfm.testing import toy_database
            >>> sql = '''
            ...     SELECT DISTINCT shop_id, timestamp, customer_id
            ...     FROM timestamps JOIN orders ON date > timestamp
            ...     AND date <= timestamp + INTERVAL '{horizon}'
            ...     JOIN customers USING (customer_id) WHERE shop_id IS NOT NULL
            ... '''
            >>> task = LinkTask.from_sql(
            ...     sql, toy_database(), 'shops', '30 days', name='buyers', k=3,
            ...     destination_table='customers',
            ...     val_timestamp='2021-05-01', test_timestamp='2021-09-01')
            >>> task.destination_table, task.target_col
            ('customers', 'customer_id')
        """
        from torch_geometric_rfm.data.link_frame import link_task_from_sql

        return link_task_from_sql(sql, db, entity_table, horizon, **kwargs)

    def with_rows(
        self, db: 'Database', entities: pd.Series, time: Any, split: str = 'predict'
    ) -> 'LinkTask':
        r"""The task with further rows, whose destinations are to be predicted."""
        out: Any = super().with_rows(db, entities, time, split)
        none = np.zeros(0, dtype=np.int64)
        lists = out.frame['destinations']
        out.frame['destinations'] = [
            rows if isinstance(rows, np.ndarray) else none for rows in lists
        ]
        return out

    @property
    def metric_fns(self) -> list[Callable[[np.ndarray, np.ndarray], float]]:
        r"""RelBench's metrics, each a function of hits and numbers of truths."""
        if self.relbench_task is not None:
            return list(self.relbench_task.metrics)
        from relbench import metrics

        return [metrics.map]

    def labels_of_split(self, split: str) -> np.ndarray:
        r"""The numbers of destinations of a split, in order.

        Raises:
            ValueError: If rows have none.
        """
        labels = super().labels_of_split(split)
        without = int((labels == 0).sum())
        if without:
            raise ValueError(
                f"split '{split}' of task '{self.name}' has no destinations to "
                f'evaluate against (got {without} rows without of {labels.size})'
            )
        return labels

    def score_rows(
        self, rows: NDArray[np.int64], prediction: NDArray[np.int64]
    ) -> dict[str, float]:
        r"""The metrics of recommended destinations for rows of the task table.

        Args:
            rows: :obj:`[n]` rows of the task table.
            prediction: :obj:`[n, k]` rows of destinations, best first, -1 for none.

        Raises:
            ValueError: If a row recommends a destination twice, or has no truth.
        """
        truth = [self.frame['destinations'].iloc[row] for row in rows]
        count = np.array([len(one) for one in truth])
        if len(rows) == 0 or (count == 0).any():
            raise ValueError(
                f"rows of task '{self.name}' have no destinations to evaluate against "
                f'(got {int((count == 0).sum())} without of {len(rows)})'
            )
        ordered = np.sort(prediction, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        if twice.any():
            row = int(np.flatnonzero(twice.any(axis=1))[0])
            raise ValueError(
                f'recommendations must not name a destination twice (row {row} does)'
            )
        hit = np.stack([np.isin(p, one) for p, one in zip(prediction, truth)])
        return {fn.__name__: float(fn(hit, count)) for fn in self.metric_fns}

    def evaluate(self, prediction: np.ndarray, split: str) -> dict[str, float]:
        r"""RelBench's metrics of recommended rows :obj:`[n, k]` of a split."""
        rows = np.flatnonzero((self.frame['split'] == split).to_numpy())
        figures = self.score_rows(rows, prediction)
        if (
            self.relbench_task is None
            or prediction.shape[1] != self.relbench_task.eval_k
        ):
            return figures
        table = self.relbench_task.get_table(split, mask_input_cols=False)
        keys = np.where(prediction < 0, -1, self.destination_keys[prediction])
        figures = self.relbench_task.evaluate(keys, table)
        return {name: float(value) for name, value in figures.items()}


def destination_keys(db: 'Database', table: str, task: str) -> pd.Index:
    r"""The primary keys of the destinations of a task, row numbers without any.

    Raises:
        ValueError: If the database lacks the table.
    """
    if table not in db.table_dict:
        raise ValueError(
            f"task '{task}' recommends rows of table '{table}', which the database "
            f'lacks (tables are: {", ".join(db.table_dict)})'
        )
    index = primary_key_index(db.table_dict[table], table)
    return pd.RangeIndex(len(db.table_dict[table].df)) if index is None else index


def destination_rows(
    given: list[Any], keys: pd.Index, table: str, task: str
) -> NDArray[np.int64]:
    r"""The rows of some destinations of a task.

    Raises:
        ValueError: If one does not exist.
    """
    rows = keys.get_indexer(pd.Index(given)) if given else np.zeros(0, dtype=np.int64)
    if (rows < 0).any():
        unknown = given[int(np.flatnonzero(rows < 0)[0])]
        raise ValueError(
            f"task '{task}' names destinations that table '{table}' lacks (first is "
            f'{unknown!r})'
        )
    return rows.astype(np.int64)


def _positions(
    lists: list[Any], keys: pd.Index, table: str, task: str
) -> list[NDArray[np.int64]]:
    size = [0 if one is None else len(one) for one in lists]
    flat = [key for one in lists if one is not None for key in one]
    rows = destination_rows(flat, keys, table, task)
    out = np.split(rows, np.cumsum(size)[:-1])
    for row, one in enumerate(out):
        if len(np.unique(one)) < len(one):
            raise ValueError(
                f"task '{task}' names a destination twice in row {row} (got "
                f'{lists[row]!r})'
            )
    return [np.sort(one) for one in out]
