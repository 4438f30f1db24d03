from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.database import load_database, load_dataset
from torch_geometric_rfm.data.link_task import LinkTask, destination_keys, positions
from torch_geometric_rfm.data.task_frame import choose_columns, task_from_frame
from torch_geometric_rfm.data.task_sql import task_from_sql


def link_task_from_frame(
    frame: pd.DataFrame,
    db: Any,
    entity_table: str,
    horizon: Any = None,
    *,
    destination_table: str,
    name: str = 'task',
    entity_col: str | None = None,
    time_col: str | None = None,
    target_col: str | None = None,
    split_col: str | None = None,
    known_col: str | None = None,
    k: int = 10,
    **kwargs: Any,
) -> LinkTask:
    r"""A recommendation task of a data frame of links; see
    :meth:`~torch_geometric_rfm.data.LinkTask.from_frame`.
    """
    source = db if hasattr(db, 'table_dict') else load_dataset(db)
    database = load_database(source)
    where = f"the links of task '{name}'"
    if k < 1:
        raise ValueError(f"k of task '{name}' must be positive (got {k})")
    for refused in ('cell_type', 'classes'):
        if kwargs.get(refused) is not None:
            raise ValueError(
                f"task '{name}' recommends, and has no {refused} (got "
                f'{kwargs[refused]!r})'
            )
    keys = destination_keys(database, destination_table, name)
    if split_col is None and 'split' in frame and target_col != 'split':
        split_col = 'split'
    if target_col is None:
        target_col = database.table_dict[destination_table].pkey_col
        if destination_table == entity_table or target_col not in frame:
            raise ValueError(
                f'{where} name no destination: pass target_col=, the column of keys of '
                f"'{destination_table}' (columns are: "
                f'{", ".join(map(str, frame.columns))})'
            )
    others = [split_col, known_col]
    entity_col, time_col, target_col = choose_columns(
        frame, database, entity_table, (entity_col, time_col, target_col), others, where
    )
    by = [entity_col, time_col, *(column for column in others if column is not None)]
    links = gather_links(frame, by, target_col)
    lists = links[target_col].tolist()
    destinations = positions(
        [list(one) for one in lists], keys, destination_table, name
    )
    counts = [float(len(rows)) if len(rows) else None for rows in destinations]
    task = task_from_frame(
        links.assign(**{target_col: pd.Series(counts, dtype=float)}),
        source,
        entity_table,
        horizon,
        name=name,
        entity_col=entity_col,
        time_col=time_col,
        target_col=target_col,
        split_col=split_col,
        known_col=known_col,
        cell_type=CellType.NUMBER,
        **{key: value for key, value in kwargs.items() if value is not None},
    )
    task.frame['destinations'] = destinations
    return LinkTask(
        **task.__dict__,
        destination_table=destination_table,
        destination_col=target_col,
        destination_keys=keys.to_numpy(),
        k=k,
    )


def link_task_from_sql(
    sql: str | Path, db: Any, entity_table: str, horizon: Any = None, **kwargs: Any
) -> LinkTask:
    r"""A recommendation task of a query of links; see
    :meth:`~torch_geometric_rfm.data.LinkTask.from_sql`.
    """
    destination_table = kwargs.pop('destination_table')
    make = partial(link_task_from_frame, destination_table=destination_table)
    out: Any = task_from_sql(
        sql, db, entity_table, horizon, make=make, gather=gather_links, **kwargs
    )
    return out


def gather_links(frame: pd.DataFrame, by: list[str], target: str) -> pd.DataFrame:
    r"""The keys of the destinations of each entity and time as a sorted tuple, in
    order of their first appearance; missing ones are none.

    Args:
        frame (pd.DataFrame): A destination, or a list of them, in each row.
        by (list): The columns that tell entities and times apart.
        target (str): The column of destinations.

    Example:
        >>> frame = pd.DataFrame({'user': [1, 2, 1], 'item': ['b', None, 'a']})
        >>> gather_links(frame, ['user'], 'item')['item'].tolist()
        [('a', 'b'), ()]
    """
    single = frame[[*by, target]].explode(target)
    groups = single.groupby(by, sort=False, dropna=False)[target]
    return groups.agg(lambda keys: tuple(sorted(keys.dropna()))).reset_index()
