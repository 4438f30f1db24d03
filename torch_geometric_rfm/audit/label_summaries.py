r"""What cells that summarise known labels must hold, by SQL."""

import math
from typing import Any

from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.scales import label_scales

_WINDOW = 4  # horizons
_HALF_LIVES = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5)  # labels
_PRIORS = (10.0, 3.0, 1.0, 0.3, 0.1)  # labels


def find_label_summary(task: RawTask, name: str) -> str | None:
    r"""What is made of labels in a cell of this name, if anything: the :obj:`mean` or
    :obj:`number` of the entity's, the mean that counts older ones less
    (:obj:`smoothed`), or that of :obj:`all` lately.
    """
    mean = f'mean {task.target_col} of {task.name}'
    names = {
        mean: 'mean',
        f'{mean}, smoothed': 'smoothed',
        f'{mean} of all lately': 'all',
        f'number of known {task.name}': 'number',
    }
    return names.get(name)


def summarise_labels(
    connection: Any, task: RawTask, kind: str, asked: str, train: str
) -> None:
    r"""Makes the table :obj:`summarised` of the rows, entities and times of a query:
    their :obj:`row` and the value :obj:`v`. Another one gives those of train rows.
    """
    horizon = math.ceil(task.horizon)
    score = f'clip({label_scales(connection).known.score("label")})'
    known = f'l.time <= until - 1 AND l.time <= until - {horizon}'
    # The labels known to each row asked for, the latest in place 0.
    seen = f"""
        l AS (SELECT row, entity, time, {score} AS score FROM labels
              WHERE label IS NOT NULL),
        seen AS (SELECT q.row AS row, score, row_number() OVER (
                     PARTITION BY q.row ORDER BY l.time DESC, l.row DESC) - 1 AS place
                 FROM q JOIN l ON l.entity = q.entity AND {known})
    """
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
    elif kind == 'smoothed':
        half_life, prior = _best_smoothing(connection, seen, train)
        discount = 2 ** (-1 / half_life)
        query = f"""
            WITH q(row, entity, until) AS ({asked}), {seen},
            {_discounted(f'VALUES ({discount!r}::DOUBLE)')}
            SELECT q.row AS row, total / (weight + {prior!r}::DOUBLE) AS v
            FROM q LEFT JOIN discounted ON discounted.row = q.row
        """
    else:
        value = 'ln(1 + count(score))' if kind == 'number' else 'favg(score)'
        query = f"""
            WITH q(row, entity, until) AS ({asked}), {seen}
            SELECT q.row AS row, {value} AS v
            FROM q LEFT JOIN seen ON seen.row = q.row GROUP BY q.row
        """
    connection.execute(f'CREATE OR REPLACE TEMP TABLE summarised AS {query}')


def _discounted(discounts: str) -> str:
    # Sums of what is seen, each label counting less than the next by a discount.
    return f"""
        discounted AS (
            SELECT row, discount, fsum(pow(discount, place) * score) AS total,
                   fsum(pow(discount, place)) AS weight
            FROM seen, ({discounts}) AS given(discount) GROUP BY row, discount)
    """


def _best_smoothing(connection: Any, seen: str, train: str) -> tuple[float, float]:
    # The half-life and the prior of the least squared error on train rows.
    half_lives = {2 ** (-1 / half_life): half_life for half_life in _HALF_LIVES}
    discounts = ', '.join(f'({discount!r}::DOUBLE)' for discount in half_lives)
    priors = ', '.join(f'({prior!r}::DOUBLE)' for prior in _PRIORS)
    found = connection.execute(
        f"""
        WITH q(row, entity, until) AS ({train}), {seen},
        {_discounted(f'VALUES {discounts}')}
        SELECT discount, prior,
               fsum(pow(total / (weight + prior) - l.score, 2)) / greatest(1, (
                   SELECT count(*) FROM q JOIN l ON l.row = q.row)) AS error
        FROM discounted JOIN l ON l.row = discounted.row,
             (VALUES {priors}) AS given(prior)
        GROUP BY discount, prior
        """
    ).fetchall()
    error = {(half_lives[d], prior): round(error, 9) for d, prior, error in found}
    order = [(h, prior) for h in _HALF_LIVES for prior in _PRIORS]
    return min(order, key=lambda key: error.get(key, 0.0))
