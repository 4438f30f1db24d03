from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.class_labels import encode_classes
from torch_geometric_rfm.data.class_metrics import accuracy, log_loss, macro_f1
from torch_geometric_rfm.data.database import load_database
from torch_geometric_rfm.data.horizon import horizon_of
from torch_geometric_rfm.data.keys import entity_rows

if TYPE_CHECKING:
    from pathlib import Path

    from relbench.base import BaseTask, Database

SPLITS = ('train', 'val', 'test')
_CELL_TYPES = {
    'binary_classification': CellType.BOOLEAN,
    'multiclass_classification': CellType.CATEGORY,
    'regression': CellType.NUMBER,
}


@dataclass
class Task:
    r"""A prediction task: a table of labels of entities at times.

    Args:
        name: The name of the task, and of its table.
        entity_table: The table of the entities.
        entity_col: The name of its key in the task table.
        time_col: The time column of the task table.
        target_col: The label column of the task table.
        cell_type: What the label is.
        horizon: A label of time :math:`t` is known from :math:`t` plus horizon.
        frame: Columns :obj:`entity` (row of the entity in its table),
            :obj:`time`, :obj:`label` (NaN where unknown; of a category, the number
            of its class) and :obj:`split`.
        hidden_columns: :obj:`(table, column)` pairs that may not be seen.
        cutoffs: For each split the time at which the frozen protocol stops
            the clock; splits without one see up to their own time.
        relbench_task: The task that evaluates predictions.
        classes: The classes that may be predicted, of a category.
        other_classes: Classes of labels beyond, which cannot be predicted but may
            be seen once they are known; their numbers follow.
        multilabel: The multilabel task that it asks one label of.
    """

    name: str
    entity_table: str
    entity_col: str
    time_col: str
    target_col: str
    cell_type: CellType
    horizon: pd.Timedelta
    frame: pd.DataFrame
    hidden_columns: list[tuple[str, str]] = field(default_factory=list)
    cutoffs: dict[str, pd.Timestamp] = field(default_factory=dict)
    relbench_task: Any = None
    classes: list[str] = field(default_factory=list)
    other_classes: list[str] = field(default_factory=list)
    multilabel: str | None = None

    @classmethod
    def from_relbench(
        cls,
        task: 'BaseTask',
        db: 'Database | None' = None,
        horizon: Any = None,
        classes: Sequence[Any] | None = None,
    ) -> 'Task':
        r"""Takes over a RelBench task, with the labels of all splits.

        Args:
            task (relbench.base.BaseTask): A forecast, autocomplete or external
                task, of binary or multiclass classification, or regression.
            db (relbench.base.Database, optional): Its database, uncut; loaded
                if not given. (default: :obj:`None`)
            horizon (str or pd.Timedelta, optional): When a label becomes
                known, counted from its time. Needed for external tasks without
                a timedelta. (default: :obj:`None`)
            classes (sequence, optional): The classes that may be predicted, of
                multiclass classification; those of train rows if not given.
                (default: :obj:`None`)

        Raises:
            ValueError: If the task is of another type, has no horizon, no
                labels to learn from, or entities that do not exist.
        """
        name = getattr(task, 'name', None) or type(task).__name__
        kind = task.task_type.value
        if kind == 'recommendation':
            from torch_geometric_rfm.data.link_task import LinkTask

            return LinkTask.from_relbench(task, db, horizon, classes)
        if kind == 'multilabel_classification':
            raise ValueError(
                f"task '{name}' is of type '{kind}': use multilabel_tasks, which makes "
                'a task of each label (RelationalPredictor.open_tasks opens them all)'
            )
        if kind not in _CELL_TYPES:
            raise ValueError(
                f"task '{name}' is of type '{kind}'; {', '.join(_CELL_TYPES)} can be "
                f'predicted so far'
            )
        cell_type = _CELL_TYPES[kind]
        if classes is not None and cell_type != CellType.CATEGORY:
            raise ValueError(
                f"task '{name}' is of type '{kind}' and has no classes (got {classes})"
            )
        db = db or load_database(task.dataset)
        if task.entity_table not in db.table_dict:
            raise ValueError(
                f"task '{name}' is about table '{task.entity_table}', which the "
                f'database lacks (tables are: {", ".join(db.table_dict)})'
            )
        frames = []
        for split in SPLITS:
            frame = task.get_table(split, mask_input_cols=False).df
            label = frame.get(task.target_col, np.nan)
            columns = {
                'entity': entity_rows(
                    db, task.entity_table, frame[task.entity_col], name
                ),
                'time': pd.to_datetime(frame[task.time_col]).to_numpy(),
                'label': np.asarray(label, dtype=np.float64)
                if cell_type != CellType.CATEGORY
                else np.asarray(label, dtype=object),
            }
            frames.append(pd.DataFrame(columns, index=frame.index).assign(split=split))
        frame = pd.concat(frames, ignore_index=True)
        names: list[str] = []
        others: list[str] = []
        if cell_type == CellType.CATEGORY:
            try:
                frame['label'], names, others = encode_classes(
                    frame['label'], frame['split'] == 'train', classes
                )
            except ValueError as error:
                raise ValueError(f"task '{name}': {error}") from error
        dataset = task.dataset
        out = cls(
            name=name,
            entity_table=task.entity_table,
            entity_col=task.entity_col,
            time_col=task.time_col,
            target_col=task.target_col,
            cell_type=cell_type,
            horizon=horizon_of(task, name, horizon),
            frame=frame,
            hidden_columns=[tuple(pair) for pair in task.hidden_columns()],
            cutoffs={
                'train': dataset.val_timestamp,
                'val': dataset.val_timestamp,
                'test': dataset.test_timestamp,
            },
            relbench_task=task,
            classes=names,
            other_classes=others,
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
    ) -> 'Task':
        r"""A task of a data frame with an entity, a time and a label in each row.

        Args:
            frame (pd.DataFrame): The labels, one of an entity and time. A missing
                label is a row to be predicted.
            db (str, Path, relbench.base.Dataset or relbench.base.Database): The
                database, uncut.
            entity_table (str): The table of the entities.
            horizon (str or pd.Timedelta, optional): When a label becomes known,
                counted from its time. (default: :obj:`None`)
            **kwargs (optional): The following.
            name (str): The name of the task. (default: :obj:`"task"`)
            entity_col (str, optional): The column of primary keys of the entities;
                the one named as the primary key if not given.
                (default: :obj:`None`)
            time_col (str, optional): The column of the times; the only one of
                datetimes if not given. (default: :obj:`None`)
            target_col (str, optional): The column of the labels; the only one left
                if not given. (default: :obj:`None`)
            split_col (str, optional): A column of :obj:`"train"`, :obj:`"val"` and
                :obj:`"test"`; :obj:`"split"` if there is one, else rows are split
                by the cutoffs, see
                :func:`~torch_geometric_rfm.data.split_by_time`.
                (default: :obj:`None`)
            known_col (str, optional): A column of the times at which labels become
                known; the horizon is the longest wait. (default: :obj:`None`)
            cell_type (str, optional): What the label is: :obj:`"boolean"` if all
                are true, false, 0 or 1, :obj:`"category"` for strings and
                :obj:`"number"` else, if not given. (default: :obj:`None`)
            val_timestamp, test_timestamp (pd.Timestamp, optional): The cutoffs;
                those of the dataset if not given. (default: :obj:`None`)
            hidden_columns (list): :obj:`(table, column)` pairs that give labels
                away, and may not be seen. (default: :obj:`()`)
            classes (sequence, optional): The classes that may be predicted, of a
                category; those of train rows if not given. (default: :obj:`None`)

        Raises:
            ValueError: If there are no rows, an entity and time stands twice, an
                entity is null or unknown, a time or all labels are missing, no
                horizon is known, or columns cannot be told apart.

        Example:
            >>> from torch_geometric_rfm.testing import toy_database
            >>> frame = pd.DataFrame({
            ...     'customer_id': [3, 7, 3, 5],
            ...     'date': pd.to_datetime(['2021-02-01', '2021-03-01', '2021-05-02',
            ...                             '2021-09-03']),
            ...     'returns': [0, 1, 1, 0],
            ... })
            >>> task = Task.from_frame(
            ...     frame, toy_database(), 'customers', '30 days',
            ...     val_timestamp='2021-05-01', test_timestamp='2021-09-01')
            >>> task.frame['split'].tolist()
            ['train', 'train', 'val', 'test']
        """
        from torch_geometric_rfm.data.task_frame import task_from_frame

        return task_from_frame(frame, db, entity_table, horizon, **kwargs)

    @classmethod
    def from_sql(
        cls,
        sql: 'str | Path',
        db: Any,
        entity_table: str,
        horizon: Any = None,
        **kwargs: Any,
    ) -> 'Task':
        r"""A task of a DuckDB query that gives an entity, a time and a label in
        each row.

        The tables of the database are views of the query, and so is
        :obj:`timestamps`, as in RelBench, with the times to ask about in its column
        :obj:`timestamp`; :obj:`{horizon}` (or :obj:`{timedelta}`) stands for the
        horizon. The query reads and cannot write.

        The query is run again without rows after each cutoff: labels that are
        said to be known by then must come out the same.

        Args:
            sql (str or Path): One :obj:`SELECT`, or a file of it.
            db (str, Path, relbench.base.Dataset or relbench.base.Database): The
                database, uncut.
            entity_table (str): The table of the entities.
            horizon (str or pd.Timedelta, optional): When a label becomes known,
                counted from its time. (default: :obj:`None`)
            timestamps (pd.Series, optional): The times of the view
                :obj:`timestamps`; one horizon apart, up to and from the cutoffs,
                if not given. (default: :obj:`None`)
            check_horizon (bool): Whether to run the query again without the
                future. (default: :obj:`True`)
            **kwargs (optional): Further arguments of :meth:`from_frame`.

        Raises:
            ImportError: If DuckDB is not installed.
            ValueError: If the query is not one :obj:`SELECT`, fails, returns no
                rows, or labels need rows after their horizon; and as in
                :meth:`from_frame`.

        Example:
            >>> from torch_geometric_rfm.testing import toy_database
            >>> sql = '''
            ...     SELECT customer_id, timestamp, sum(amount) AS amount
            ...     FROM timestamps JOIN orders ON date > timestamp
            ...     AND date <= timestamp + INTERVAL '{horizon}'
            ...     GROUP BY ALL
            ... '''
            >>> task = Task.from_sql(
            ...     sql, toy_database(), 'customers', '30 days', name='amount',
            ...     val_timestamp='2021-05-01', test_timestamp='2021-09-01')
            >>> task.cell_type.name, task.target_col
            ('NUMBER', 'amount')
        """
        from torch_geometric_rfm.data.task_sql import task_from_sql

        return task_from_sql(sql, db, entity_table, horizon, **kwargs)

    def validate(self) -> None:
        r"""Checks that there is something to learn.

        Raises:
            ValueError: If the training split has no labels, a binary task labels
                other than 0 and 1, or only one of them, or a category task not two
                classes or labels that are none.
        """
        label = self.frame['label'][self.frame['split'] == 'train'].dropna()
        where = f"task '{self.name}' (column '{self.target_col}')"
        if label.empty:
            raise ValueError(f'{where} has no labels in its train split')
        if self.frame['time'].isna().any():
            row = int(np.flatnonzero(self.frame['time'].isna())[0])
            raise ValueError(f'{where} has no time in row {row}; drop such rows')
        if np.isinf(self.frame['label']).any():
            raise ValueError(f'{where} has infinite labels; drop those rows')
        if self.cell_type == CellType.BOOLEAN:
            odd = self.frame['label'].dropna()
            odd = odd[(odd != 0) & (odd != 1)]
            if len(odd):
                raise ValueError(
                    f'{where} is binary and has a label that is neither 0 nor 1 (got '
                    f'{odd.iloc[0]:g})'
                )
            if label.nunique() < 2:
                missing = 'positive' if label.iloc[0] == 0 else 'negative'
                raise ValueError(f'{where} has no {missing} rows in its train split')
        if self.cell_type == CellType.CATEGORY:
            names = [*self.classes, *self.other_classes]
            codes = self.frame['label'].dropna()
            if len(self.classes) < 2 or len(set(names)) < len(names):
                raise ValueError(
                    f"{where} is a category: 'classes' must name at least two, each "
                    f'once (got {names})'
                )
            odd = codes[~codes.isin(range(len(names)))]
            if len(odd):
                raise ValueError(
                    f'{where} has a label that is the number of none of its '
                    f'{len(names)} classes (got {odd.iloc[0]:g})'
                )

    def with_rows(
        self, db: 'Database', entities: pd.Series, time: Any, split: str = 'predict'
    ) -> 'Task':
        r"""The task with further rows, without labels, to be predicted.

        Args:
            db (relbench.base.Database): The database of the task.
            entities (pd.Series): Primary keys of the entities.
            time (pd.Timestamp or pd.Series): When each is asked about.
            split (str): What the rows are called. (default: :obj:`"predict"`)
        """
        rows = entity_rows(db, self.entity_table, pd.Series(entities), self.name)
        extra = pd.DataFrame({'entity': rows, 'label': np.nan, 'split': split})
        extra['time'] = pd.to_datetime(time if np.ndim(time) == 0 else np.asarray(time))
        if extra['time'].isna().any():
            raise ValueError('time must be given for every entity (got NaT)')
        frame = pd.concat([self.frame, extra], ignore_index=True)
        return type(self)(**{**self.__dict__, 'frame': frame})

    @property
    def metric_fns(self) -> list[Callable[[np.ndarray, np.ndarray], float]]:
        r"""RelBench's metrics of the task, each a function of truth and prediction;
        accuracy, log loss and macro F1 of a category, for which it has none.
        """
        if self.cell_type == CellType.CATEGORY:
            return [accuracy, log_loss, macro_f1]
        if self.relbench_task is not None:
            return list(self.relbench_task.metrics)
        from relbench.metrics import make_nmae, roc_auc

        if self.cell_type == CellType.BOOLEAN:
            return [roc_auc]
        train = self.frame['label'][self.frame['split'] == 'train']
        return [make_nmae(lambda: float(train.std(ddof=1)))]

    def score(self, label: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
        r"""The metrics of some predictions, by RelBench's names."""
        return {fn.__name__: float(fn(label, prediction)) for fn in self.metric_fns}

    def labels_of_split(self, split: str) -> np.ndarray:
        r"""The labels of a split, in order.

        Raises:
            ValueError: If labels are missing, or a binary split has only one.
        """
        labels = self.frame['label'][self.frame['split'] == split].to_numpy()
        where = f"split '{split}' of task '{self.name}'"
        if labels.size == 0 or np.isnan(labels).any():
            raise ValueError(
                f'{where} has no labels to evaluate against (got '
                f'{int(np.isnan(labels).sum())} missing of {labels.size})'
            )
        if self.cell_type == CellType.BOOLEAN and np.unique(labels).size < 2:
            raise ValueError(
                f'{where} has labels of one class alone (got {labels[0]:g})'
            )
        return labels

    def evaluate(self, prediction: np.ndarray, split: str) -> dict[str, float]:
        r"""RelBench's metrics of predictions for the rows of a split, in order."""
        self.labels_of_split(split)
        if self.relbench_task is None or self.cell_type == CellType.CATEGORY:
            return self.score(self.labels_of_split(split), prediction)
        table = self.relbench_task.get_table(split, mask_input_cols=False)
        figures = self.relbench_task.evaluate(prediction, table)
        return {name: float(value) for name, value in figures.items()}
