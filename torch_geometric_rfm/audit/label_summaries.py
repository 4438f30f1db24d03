r"""What cells that summarise known labels must hold, by SQL."""

import math
from typing import Any

from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.scales import label_scales

_WINDOW = 4  # horizons
_NUM_LATEST = 3
_PLACE = 'row_number() OVER (PARTITION BY q.row ORDER BY l.time DESC, l.row DESC)'


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
    known = f'l.time <= until - 1 AND l.time <= until - {horizon}'
    if kind == 'all':
        # Of a horizon, without which there is no such cell.
        window = f'l.time > until - {(_WINDOW + 1) * horizon}'
        query = f"""
            WITH q(row, entity, until) AS ({asked}),
            times AS (SELECT DISTINCT until FROM q),
            l AS (SELECT time, fsum({score}) AS total, count(*) AS size FROM labels
                  WHERE label IS NOT NULL GROUP BY time),
            means AS (SELECT until, fsum(total) / sum(size) AS v
                      FROM times JOIN l ON {known} AND {window} GROUP BY until)
            SELECT row, v FROM q LEFT JOIN means USING (until)
        """
    else:
        latest = f'QUALIFY {_PLACE} <= {_NUM_LATEST}' if kind == 'latest' else ''
        value = 'ln(1 + count(score))' if kind == 'number' else 'favg(score)'
        query = f"""
            WITH q(row, entity, until) AS ({asked}),
            l AS (SELECT row, entity, time, {score} AS score FROM labels
                  WHERE label IS NOT NULL),
            seen AS (SELECT q.row AS row, score FROM q
                     JOIN l ON l.entity = q.entity AND {known} {latest})
            SELECT q.row AS row, {value} AS v
            FROM q LEFT JOIN seen ON seen.row = q.row GROUP BY q.row
        """
    connection.execute(f'CREATE OR REPLACE TEMP TABLE summarised AS {query}')
