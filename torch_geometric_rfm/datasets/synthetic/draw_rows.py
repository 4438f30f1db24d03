r"""Keys and times of the rows of a table."""

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.datasets.synthetic.calendar import Calendar
from torch_geometric_rfm.datasets.synthetic.foreign_keys import ParentChoice
from torch_geometric_rfm.datasets.synthetic.table import TablePlan, TableRows

Array = NDArray[np.float64]


def draw_rows(
    plan: TablePlan,
    tables: list[TableRows],
    calendar: Calendar,
    rng: np.random.Generator,
    max_inactive: float,
    max_null_share: float,
) -> TableRows:
    r"""The rows of a table: first the parent whose history they continue, then
    the others from the same communities, then times at which all parents are there.
    """
    num_rows = plan.num_rows
    community = rng.random(num_rows)
    parents: dict[str, NDArray[np.int64]] = {}
    for number, (fkey, table) in enumerate(plan.parents.items()):
        choice = ParentChoice.draw(rng, max_inactive, max_null_share)
        parent = tables[table]
        if number == 0:
            weight = choice.attractiveness(parent.plan.num_rows, rng)
            total = np.cumsum(weight)
            at = total[-1] * rng.random(num_rows)
            main = np.searchsorted(total, at, side='right')
            main = np.minimum(main, np.flatnonzero(weight)[-1])
            community = (parent.community[main] + rng.normal(0, 0.02, num_rows)) % 1.0
            parents[fkey] = choice.with_nulls(main, rng)
        else:
            parents[fkey] = choice.choose(community, parent.community, rng)
    begin = np.where(rng.random(num_rows) < 0.4, 0.0, rng.uniform(0, 0.8, num_rows))
    rows = TableRows(plan, parents, None, community, begin, np.ones(num_rows))
    if plan.dated:
        rows.time = _draw_times(rows, tables, calendar, rng)
        order = np.argsort(rows.time, kind='stable')
        rows.time = rows.begin = rows.time[order]
        rows.community = community[order]
        rows.parents = {fkey: parent[order] for fkey, parent in parents.items()}
    if not plan.activity:
        life = rng.exponential(rng.uniform(0.2, 1.0), num_rows)
        rows.end = np.minimum(1.0, rows.begin + 0.02 + life)
    return rows


def _draw_times(
    rows: TableRows,
    tables: list[TableRows],
    calendar: Calendar,
    rng: np.random.Generator,
) -> Array:
    plan, num_rows = rows.plan, rows.plan.num_rows
    start, follows = np.zeros(num_rows), False
    for fkey, table in plan.parents.items():
        parent, row = tables[table], rows.parents[fkey]
        if parent.time is not None:
            start = np.maximum(start, np.where(row < 0, 0.0, parent.time[row]))
            follows |= parent.plan.activity
    if follows:
        # Happenings that belong to others come with them or soon after.
        delay = rng.exponential(rng.uniform(0.0005, 0.01), num_rows)
        delay *= rng.random() < 0.6
        return np.minimum(start + delay, 1.0)
    if not plan.activity:
        return np.maximum(start, rows.begin)
    stop = np.ones(num_rows)
    if rows.main_fkey is not None:
        parent, row = tables[plan.parents[rows.main_fkey]], rows.parents[rows.main_fkey]
        start = np.maximum(start, np.where(row < 0, 0.0, parent.begin[row]))
        stop = np.where(row < 0, 1.0, parent.end[row])
    stop = np.maximum(stop, np.minimum(start + 0.02, 1.0))
    return calendar.series(rng).draw_times(start, stop, rng)
