r"""From a graph to planned tables: roles, names, keys and sizes."""

import numpy as np

from torch_geometric_rfm.datasets.synthetic.names import Names
from torch_geometric_rfm.datasets.synthetic.schema_graph import SCHEMA_GRAPHS
from torch_geometric_rfm.datasets.synthetic.table import TablePlan
from torch_geometric_rfm.datasets.synthetic.words import singular

MIN_ROWS = 12


def draw_schema(
    rng: np.random.Generator,
    names: Names,
    graph: str,
    num_tables: int,
    num_rows: int,
    num_columns: tuple[int, int],
) -> list[TablePlan]:
    r"""Plans of tables in topological order.

    Tables without children are happenings, and so is what references happenings;
    a table that references a dated one is dated too, so that no row is older than
    its parents.
    """
    links = SCHEMA_GRAPHS[graph](num_tables, rng)
    sinks = set(range(num_tables)) - {p for parents in links for p in parents}
    activity: list[bool] = []
    dated: list[bool] = []
    weight: list[float] = []
    for table, parents in enumerate(links):
        inner = rng.random() < (0.2 if parents else 0.08)
        follows = any(activity[p] for p in parents)
        activity.append(table in sinks or follows or bool(inner))
        old = any(dated[p] for p in parents)
        dated.append(activity[-1] or old or bool(rng.random() < 0.25))
        base = 1.0 if table in sinks else 0.35 if activity[-1] else 0.08
        weight.append(base * float(np.exp(rng.normal(0, 0.5))))
    share = np.array(weight) / sum(weight)
    title = [names.table(activity[table]) for table in range(num_tables)]
    plans = []
    for table, parents in enumerate(links):
        plans.append(
            TablePlan(
                name=title[table],
                parents=_foreign_keys(parents, title, names, rng),
                activity=activity[table],
                dated=dated[table],
                num_rows=max(MIN_ROWS, round(share[table] * num_rows)),
                num_columns=int(rng.integers(num_columns[0], num_columns[1] + 1)),
            )
        )
    return plans


def _foreign_keys(
    parents: list[int], title: list[str], names: Names, rng: np.random.Generator
) -> dict[str, int]:
    keys: dict[str, int] = {}
    for parent in rng.permutation(parents).astype(int).tolist():
        noun = singular(title[parent])
        if rng.random() < 0.08:  # Two roles of one table, as home and away team.
            for role in rng.permutation(['first', 'second']):
                keys[names.write(str(role), noun, 'id')] = parent
        else:
            keys[names.write(noun, 'id')] = parent
    return keys
