r"""Rules about cells: hidden columns, other statistics, other values."""

from typing import Any

from torch_geometric_rfm.audit.rule import Rule

_SCORED = 'NOT mask AND NOT is_question AND present AND problem IS NULL AND kind <= 2'
_INNER = 'abs(value) < 9e3 AND abs(expected) < 9e3'  # not clipped


def find_wrong_cells(connection: Any) -> None:
    r"""Makes the table :obj:`wrong_cells`: those that do not hold what they must.

    A wrong score is one of other statistics if it is the score by those of all
    rows, or if the scores of its column lie on one rising line over the right
    ones; otherwise it is the score of another value.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE wrong_cells AS
        WITH scored AS (
            SELECT tab, col, kind, value, expected FROM judged_cells
            WHERE {_SCORED} AND {_INNER}
        ), suspect AS (
            SELECT DISTINCT tab, col FROM scored WHERE differs(value, expected)
        ), line AS (
            SELECT tab, col, regr_slope(value, expected) AS slope,
                   regr_intercept(value, expected) AS start,
                   count(DISTINCT expected) AS num_points, max(kind) AS kind
            FROM scored JOIN suspect USING (tab, col) GROUP BY tab, col
        ), fit AS (
            SELECT tab, col, bool_and(slope > 0
                AND num_points >= CASE WHEN line.kind = 1 THEN 2 ELSE 3 END
                AND abs(value - start - slope * expected) <= 1e-4 * (1 + abs(value))
            ) AS fits
            FROM scored JOIN line USING (tab, col) GROUP BY tab, col
        )
        SELECT context, tab, idx, phrase, CASE
            WHEN problem IS NOT NULL THEN problem
            WHEN NOT present THEN 'is missing in the raw row'
            WHEN mask AND (value <> 0 OR relative_time <> 0)
                THEN 'is masked and shows a value'
            WHEN mask THEN 'has a target other than its raw value'
            WHEN kind > 2 THEN 'is another string than in the raw row'
            WHEN differs(value, expected) THEN 'is ' || number_text(value)
                || ' instead of ' || number_text(expected)
            ELSE 'has a wrong distance from the seed time' END AS detail,
            {_SCORED} AND differs(value, expected) AND (
                NOT differs(value, expected_all) OR coalesce(fits, FALSE)) AS is_scale,
            NOT differs(value, expected_all) AS is_of_all_rows
        FROM judged_cells LEFT JOIN fit USING (tab, col)
        WHERE NOT is_question AND problem IS NOT NULL
        OR NOT is_question AND NOT mask AND (NOT present
            OR differs(value, expected) OR differs(relative_time, expected_relative))
        OR NOT is_question AND mask AND (value <> 0 OR relative_time <> 0)
        OR mask AND kind <= 2 AND NOT isnan(target) AND differs(
            target, CASE WHEN kind = 1 THEN raw ELSE expected END)
        OR cell IN (FROM wrong_texts)
        """
    )


def cell_rules() -> list[Rule]:
    r"""The rules about cells."""
    return [
        Rule(
            'hidden_columns',
            'columns that the task hides',
            'cells',
            'SELECT count(*) FROM cells',
            """
            SELECT context, tab, idx, 'shows ''' || phrase || '''' AS detail
            FROM judged_cells WHERE is_hidden
            """,
        ),
        Rule(
            'statistics',
            'scores by other statistics than those up to the cutoff',
            'cells',
            f'SELECT count(*) FROM judged_cells WHERE {_SCORED}',
            """
            SELECT context, tab, idx, '''' || phrase || ''' ' || detail
                || CASE WHEN is_of_all_rows THEN ', as if all rows counted' ELSE ''
                END AS detail
            FROM wrong_cells WHERE is_scale
            """,
        ),
        Rule(
            'values',
            'values other than those of the raw rows',
            'cells',
            'SELECT count(*) FROM cells',
            """
            SELECT context, tab, idx, '''' || phrase || ''' ' || detail AS detail
            FROM wrong_cells WHERE NOT is_scale
            """,
        ),
    ]
