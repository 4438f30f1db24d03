from typing import TYPE_CHECKING, Any

import pandas as pd

from torch_geometric_rfm.audit.raw_tables import RawTables, load_frame

if TYPE_CHECKING:
    from relbench.base import BaseTask

    from torch_geometric_rfm.data.task import Task

SPLITS = ('train', 'val', 'test')


class RawTask:
    r"""The task table as its source holds it, and what the task promises.

    A RelBench task is asked itself; of a
    :class:`~torch_geometric_rfm.data.Task` without one, its data frame is the
    source. The table :obj:`labels` of a connection then has :obj:`row`,
    :obj:`entity` (row of the entity), :obj:`time`, :obj:`label`, its :obj:`class`
    as a string, and :obj:`split`.

    Args:
        task (Task or relbench.base.BaseTask): The task.
        horizon (str or pd.Timedelta, optional): When a label becomes known,
            counted from its time; what the task says if not given.
            (default: :obj:`None`)

    Example:
        >>> from torch_geometric_rfm.testing import toy_task
        >>> RawTask(toy_task()).horizon
        2592000.0
    """

    def __init__(self, task: 'Task | BaseTask', horizon: Any = None) -> None:
        given: Any = task
        is_own = hasattr(given, 'frame')
        source = given.relbench_task if is_own else given
        self.source, self.task = source, given
        self.name = getattr(given, 'name', None) or type(given).__name__
        recommends = hasattr(given, 'destination_table')
        if recommends or not hasattr(given, 'entity_table'):
            raise ValueError(
                f"the audit checks tasks of one label an entity (got '{self.name}', a "
                'recommendation task)'
            )
        self.entity_table: str = given.entity_table
        self.entity_col: str = given.entity_col
        self.time_col: str = given.time_col
        self.target_col: str = given.target_col
        kind = getattr(source, 'kind', None)
        self.is_autocomplete = kind == 'autocomplete'
        self.horizon = _seconds(horizon, given, source, kind, is_own)
        if source is None:
            self.hidden = {tuple(pair) for pair in given.hidden_columns}
            self.cutoffs = dict(given.cutoffs)
        else:
            self.hidden = {tuple(pair) for pair in source.hidden_columns()}
            dataset = source.dataset
            self.cutoffs = {
                'train': dataset.val_timestamp,
                'val': dataset.val_timestamp,
                'test': dataset.test_timestamp,
            }
        if self.is_autocomplete:
            self.hidden.add((self.entity_table, self.target_col))

    def frame(self) -> pd.DataFrame:
        r"""Columns :obj:`key`, :obj:`time`, :obj:`label` and :obj:`split`."""
        if self.source is None:
            frame = self.task.frame.rename(columns={'entity': 'key'})
            names = [*self.task.classes, *self.task.other_classes]
            if names:
                frame['label'] = frame['label'].map(dict(enumerate(names)))
            return frame
        frames = []
        for split in SPLITS:
            frame = self.source.get_table(split, mask_input_cols=False).df
            label = frame.get(self.target_col)
            columns = {
                'key': frame[self.entity_col].to_numpy(),
                'time': frame[self.time_col].to_numpy(),
                'label': None if label is None else label.to_numpy(),
            }
            frames.append(pd.DataFrame(columns).assign(split=split))
        return pd.concat(frames, ignore_index=True)

    def load(self, connection: Any, raw: RawTables) -> None:
        r"""Makes the table :obj:`labels`."""
        columns = ['key', 'time', 'label', 'split']
        key_type, *_ = load_frame(connection, 'loaded', self.frame(), columns)
        entities = raw.name(self.entity_table)
        pkey = raw.tables[self.entity_table].pkey_col
        is_position = self.source is None or pkey is None
        key = 'row' if is_position else raw.column(self.entity_table, pkey)
        # Strings equal no numbers.
        key_is_text = key != 'row' and raw.type_of(self.entity_table, pkey) == 'VARCHAR'
        match = f'y.{key} = x.c0' if key_is_text == (key_type == 'VARCHAR') else 'FALSE'
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE labels AS
            SELECT x.row AS row, y.row AS entity, date_seconds(x.c1) AS time,
                   finite(TRY_CAST(x.c2 AS DOUBLE)) AS label,
                   CAST(x.c2 AS VARCHAR) AS class, x.c3 AS split
            FROM loaded x LEFT JOIN {entities} y ON {match}
            """
        )
        connection.execute('DROP TABLE loaded')

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}('{self.name}')"


def _seconds(horizon: Any, task: Any, source: Any, kind: Any, is_own: bool) -> float:
    if horizon is None:
        if kind == 'autocomplete':
            horizon = 0
        elif is_own and (source is None or kind == 'external'):
            horizon = task.horizon
        else:
            horizon = source.timedelta
    return pd.Timedelta(horizon).total_seconds()
