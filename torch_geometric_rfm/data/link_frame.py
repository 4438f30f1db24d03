from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.database import load_database, load_dataset
from torch_geometric_rfm.data.link_task import (
    LinkTask,
    destination_keys,
    destination_rows,
)
from torch_geometric_rfm.data.task_frame import (
    check_name,
    choose_columns,
    task_from_frame,
)
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
    check_name(name, entity_table, database)
    keys = destination_keys(database, destination_table, name)
    if k < 1:
        raise ValueError(f"k of task '{name}' must be positive (got {k})")
    for refused in ('cell_type', 'classes'):
        if kwargs.get(refused) is not None:
            raise ValueError(
                f"task '{name}' recommends, and has no {refused} (got "
                f'{kwargs[refused]!r})'
            )
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
    others = [column for column in (split_col, known_col) if column is not None]
    entity_col, time_col, target_col = choose_columns(
        frame, database, entity_table, (entity_col, time_col, target_col), others, where
    )
    if target_col in (entity_col, time_col, *others):
        raise ValueError(
            f"{where} have one column '{target_col}' for two things; pass target_col=, "
            'that of the destinations'
        )
    by = [entity_col, time_col]
    for column in by:
        if frame[column].isna().any():
            row = int(np.flatnonzero(frame[column].isna())[0])
            raise ValueError(
                f"column '{column}' of {where} is null in row {row}; drop such rows"
            )
    links = gather_links(frame, by, target_col, keys, destination_table, name)
    for column in others:
        values = frame.groupby(by, sort=False, observed=True)[column]
        if (values.nunique(dropna=False) > 1).any():
            raise ValueError(
                f"column '{column}' of {where} must be the same for all links of an "
                'entity and time'
            )
        if column not in by:
            links[column] = values.first().to_numpy()
    destinations = links[target_col].tolist()
    counts = [float(len(rows)) if rows else np.nan for rows in destinations]
    task = task_from_frame(
        links.assign(**{target_col: counts}),
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
    task.frame['destinations'] = [np.array(one, np.int64) for one in destinations]
    return LinkTask(
        **task.__dict__,
        destination_table=destination_table,
        destination_col=target_col,
        destination_keys=keys.to_numpy(),
        k=k,
    )


def link_task_from_sql(
    sql: str | Path,
    db: Any,
    entity_table: str,
    horizon: Any = None,
    *,
    destination_table: str,
    name: str = 'task',
    **kwargs: Any,
) -> LinkTask:
    r"""A recommendation task of a query of links; see
    :meth:`~torch_geometric_rfm.data.LinkTask.from_sql`.
    """
    source = db if hasattr(db, 'table_dict') else load_dataset(db)
    database = load_database(source)
    check_name(name, entity_table, database)
    where = {
        'keys': destination_keys(database, destination_table, name),
        'table': destination_table,
        'name': name,
    }
    out: Any = task_from_sql(
        sql,
        source,
        entity_table,
        horizon,
        name=name,
        make=partial(link_task_from_frame, destination_table=destination_table),
        gather=partial(gather_links, **where),
        **kwargs,
    )
    return out


def gather_links(
    frame: pd.DataFrame,
    by: list[str],
    target: str,
    keys: pd.Index,
    table: str,
    name: str,
) -> pd.DataFrame:
    r"""The rows of the destinations of each entity and time as a sorted tuple, empty
    where all are missing, in order of first appearance.

    Args:
        frame (pd.DataFrame): A destination, or a list of them, in each row.
        by (list): The columns of entities and times.
        target (str): The column of destinations.
        keys (pd.Index): The keys of all destinations.
        table (str): Their table, as errors call it.
        name (str): The task, as errors call it.

    Raises:
        ValueError: If a destination does not exist, stands twice for an entity and
            time, or is missing beside others.

    Example:
        >>> frame = pd.DataFrame({'user': [1, 2, 1], 'item': ['b', None, 'a']})
        >>> keys = pd.Index(['a', 'b', 'c'])
        >>> links = gather_links(frame, ['user'], 'item', keys, 'items', 'task')
        >>> links['item'].tolist()
        [(0, 1), ()]
    """
    single = frame[[*by, target]].explode(target, ignore_index=True)
    group = single.groupby(by, sort=False, observed=True).ngroup().to_numpy()
    out = single[by].iloc[np.unique(group, return_index=True)[1]]
    missing = single[target].isna().to_numpy()
    present = np.bincount(group[~missing], minlength=len(out))
    both = missing & (present[group] > 0)
    if both.any():
        row = single.iloc[int(np.flatnonzero(both)[0])]
        raise ValueError(
            f"column '{target}' of task '{name}' is null beside other rows of "
            f'{", ".join(f"{column} {row[column]}" for column in by)}; drop such rows'
        )
    found = destination_rows(single[target][~missing].tolist(), keys, table, name)
    group = group[~missing]
    order = np.lexsort([found, group])
    found, group = found[order], group[order]
    twice = (found[1:] == found[:-1]) & (group[1:] == group[:-1])
    if twice.any():
        at = int(np.flatnonzero(twice)[0])
        row = out.iloc[group[at]]
        raise ValueError(
            f"column '{target}' of task '{name}' names a destination twice for "
            f'{", ".join(f"{column} {row[column]}" for column in by)} (got '
            f'{keys[found[at]]!r}); keep one, in SQL by SELECT DISTINCT'
        )
    ends = np.cumsum(np.bincount(group, minlength=len(out)))[:-1]
    lists = [tuple(rows.tolist()) for rows in np.split(found, ends)]
    return out.assign(**{target: pd.Series(lists, index=out.index, dtype=object)})
