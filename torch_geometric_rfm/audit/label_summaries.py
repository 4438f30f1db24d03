r"""What cells that summarise known labels must hold, by SQL."""

import math
from typing import Any

from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.scales import label_scales

_WINDOW = 4  # horizons
_HALF_LIVES = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5)  # labels
_PRIORS = (10.0, 3.0, 1.0, 0.3, 0.1)  # labels
_WITHOUT_EVIDENCE = 4.0, 1.0
_MAX_ROWS = 4096  # of train, that both are chosen by


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


def summarise_labels(connection: Any, task: RawTask, kind: str, asked: str) -> None:
    r"""Makes the table :obj:`summarised` of the rows, entities and times of a query:
    their :obj:`row` and the value :obj:`v`.
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
        half_life, prior = _best_smoothing(connection, seen)
        discount = 2 ** (-1 / half_life)
        query = f"""
            WITH q(row, entity, until) AS ({asked}), {seen},
            {_discounted(f'VALUES (0, {discount!r}::DOUBLE)')}
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
            SELECT row, given.place AS choice,
                   fsum(pow(discount, seen.place) * score) AS total,
                   fsum(pow(discount, seen.place)) AS weight
            FROM seen, ({discounts}) AS given(place, discount)
            GROUP BY row, given.place)
    """


def _best_smoothing(connection: Any, seen: str) -> tuple[float, float]:
    # The half-life and the prior of the least squared error on train rows, of which a
    # hash of their place draws some.
    discounts = ', '.join(
        f'({place}, {2 ** (-1 / half_life)!r}::DOUBLE)'
        for place, half_life in enumerate(_HALF_LIVES)
    )
    priors = ', '.join(f'({k}, {prior!r}::DOUBLE)' for k, prior in enumerate(_PRIORS))
    found = connection.execute(
        f"""
        WITH train AS (
            SELECT *, row_number() OVER (ORDER BY row) - 1 AS place,
                   count(*) OVER () AS size FROM labels WHERE split = 'train'),
        q AS (
            SELECT row, entity, time AS until FROM train WHERE label IS NOT NULL
            AND place * 2654435761 % 4294967296 * size < 4294967296 * {_MAX_ROWS}),
        {seen}, {_discounted(f'VALUES {discounts}')}
        SELECT choice, k, round(favg(pow(total / (weight + prior) - l.score, 2)), 9)
        FROM discounted JOIN l ON l.row = discounted.row,
             (VALUES {priors}) AS given(k, prior)
        GROUP BY choice, k
        """
    ).fetchall()
    if not found:
        return _WITHOUT_EVIDENCE
    _, half_life, prior = min((error, choice, k) for choice, k, error in found)
    return _HALF_LIVES[half_life], _PRIORS[prior]
