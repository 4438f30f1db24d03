r"""Autocomplete: predicting a column that is hidden from its rows."""

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.task import SPLITS
from torch_geometric_rfm.datasets.task_tables import TaskTable
from torch_geometric_rfm.datasets.usable_labels import Labels

_SAMPLE = 4000
_AGREEMENT = 0.99


def autocomplete_columns(tables: dict[str, TaskTable]) -> list[tuple[str, str]]:
    r"""Pairs of tables and columns that may be asked for: numbers and booleans, in
    tables that have times or children that have.
    """
    parents = {
        p for t in tables.values() if t.time is not None for p, _ in t.parents.values()
    }
    return [
        (name, column)
        for name, table in tables.items()
        if table.time is not None or name in parents
        for column in table.label_columns
    ]


def autocomplete_labels(
    tables: dict[str, TaskTable],
    name: str,
    column: str,
    val: int,
    test: int,
    max_rows: int,
    rng: np.random.Generator,
) -> Labels:
    r"""Each row once, with its value: at its own time, or, if undated, at a random
    time of those of its children. At most :obj:`max_rows` rows of each split.
    """
    table = tables[name]
    if table.time is not None:
        entity, time = np.arange(table.num_rows), table.time
    else:
        entity, time = _times_of_children(tables, name, rng)
    label = table.values[column][entity]
    split = (time > val).astype(np.int64) + (time > test)
    known = (time != MISSING_TIME) & ~np.isnan(label)
    keep = [
        np.sort(rng.permutation(np.flatnonzero(known & (split == part)))[:max_rows])
        for part in range(len(SPLITS))
    ]
    return Labels(entity, time, split, label).take(np.concatenate(keep))


def _times_of_children(
    tables: dict[str, TaskTable], name: str, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, times = [], []
    for table in tables.values():
        for parent, row in table.parents.values():
            if parent == name and table.time is not None:
                known = (row >= 0) & (table.time != MISSING_TIME)
                rows.append(row[known])
                times.append(table.time[known])
    row, time = np.concatenate(rows), np.concatenate(times)
    order = rng.permutation(len(row))
    entity, first = np.unique(row[order], return_index=True)
    return entity, time[order][first]


def why_no_label(table: TaskTable, column: str) -> str | None:
    r"""Why a column is not asked for, or :obj:`None` if it may be."""
    value = table.values[column]
    value = value[~np.isnan(value)]
    distinct = len(np.unique(value))
    if table.cell_types[column] == CellType.NUMBER and len(value) >= 100:
        whole = bool((value == np.floor(value)).all())
        if whole and distinct == len(value):
            return 'whole numbers that are all different: an identifier'
    return None


def revealing_columns(
    tables: dict[str, TaskTable], name: str, column: str, rng: np.random.Generator
) -> list[tuple[str, str]]:
    r"""The columns that give a column away: of the same table, of its parents and
    of its children, those that equal it, follow a line with it, or determine it.

    Args:
        tables: The tables of the database.
        name: The table.
        column: Its column.
        rng: Draws the rows that are compared.
    """
    table = tables[name]
    target = table.values[column]
    everything = np.arange(table.num_rows)
    places = [(name, everything, everything)]
    for parent, row in table.parents.values():
        places.append((parent, everything[row >= 0], row[row >= 0]))
    for child in tables.values():
        for parent, row in child.parents.values():
            if parent == name:
                places.append((child.name, row[row >= 0], np.flatnonzero(row >= 0)))
    found = []
    for other, own_row, other_row in places:
        if len(own_row) > _SAMPLE:
            drawn = rng.choice(len(own_row), _SAMPLE, replace=False)
            own_row, other_row = own_row[drawn], other_row[drawn]
        for candidate, value in tables[other].values.items():
            if (other, candidate) == (name, column):
                continue
            if _reveals(value[other_row], target[own_row]):
                found.append((other, candidate))
    return list(dict.fromkeys(found))


def _reveals(value: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
    known = ~np.isnan(value) & ~np.isnan(target)
    value, target = value[known], target[known]
    if len(value) < 20 or target.std() == 0 or value.std() == 0:
        return False
    if (value == target).mean() >= _AGREEMENT:
        return True
    if abs(np.corrcoef(value, target)[0, 1]) > 0.9999:
        return True
    order = np.lexsort((target, value))
    value, target = value[order], target[order]
    same = value[1:] == value[:-1]
    # Groups that are seldom met twice say nothing.
    if same.mean() < 0.5:
        return False
    common = np.unique(target, return_counts=True)[1].max() / len(target)
    agreement = float((target[1:] == target[:-1])[same].mean())
    # Neighbours of sorted groups agree more often than the groups are pure.
    groups = 1 + int((~same).sum())
    pure = 1 - (1 - agreement) * same.sum() / groups
    return agreement >= _AGREEMENT and pure >= _AGREEMENT and common < 0.95
