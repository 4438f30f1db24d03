r"""What cells that summarise known labels must hold, by SQL."""

import math
from typing import Any

from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.scales import label_scales

_WINDOW = 4  # horizons
_NUM_LATEST = 3


def find_label_summary(task: RawTask, name: str) -> str | None:
    r"""What is made of labels in a cell of this name, if anything: the :obj:`mean` or
    :obj:`number` of the entity's, the mean of its :obj:`latest`, or that of :obj:`all`
    lately.
    """
    mean = f'mean {task.target_col} of {task.name}'
    names = {
        mean: 'mean',
        f'{mean}, latest {_NUM_LATEST}': 'latest',
        f'{mean} of all lately': 'all',
        f'number of known {task.name}': 'number',
    }
    return names.get(name)


def summarise_labels(connection: Any, task: RawTask, kind: str, asked: str) -> None:
    r"""Makes the table :obj:`summarised` of the rows, entities and times of a query:
    their :obj:`row` and the value :obj:`v`.
    """
    horizon = math.ceil(task.horizon)
    score = f'clip({label_scales(connection).known.score("label")})'
    whose = _known('until', horizon)
    if kind == 'all':
        earlier = _known(f'until - {_WINDOW * horizon}', horizon)
        whose += f' AND NOT ({earlier})'
    else:
        whose += ' AND l.entity = q.entity'
    value = 'ln(1 + count(score))' if kind == 'number' else 'favg(score)'
    if kind == 'latest':
        value += f' FILTER (WHERE place <= {_NUM_LATEST})'
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE summarised AS
        WITH q(row, entity, until) AS ({asked}),
        l AS (SELECT row, entity, time, {score} AS score FROM labels
              WHERE label IS NOT NULL),
        seen AS (
            SELECT q.row AS row, score, row_number() OVER (
                PARTITION BY q.row ORDER BY l.time DESC, l.row DESC) AS place
            FROM q JOIN l ON {whose}
        )
        SELECT q.row AS row, {value} AS v
        FROM q LEFT JOIN seen ON seen.row = q.row GROUP BY q.row
        """
    )


def _known(until: str, horizon: int) -> str:
    return f'l.time <= {until} - 1 AND l.time <= {until} - {horizon}'
