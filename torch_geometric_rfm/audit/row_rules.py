r"""Rules about rows: from the future, not yet known, not those of the database."""

from typing import Any

from torch_geometric_rfm.audit.context_tables import ContextTables
from torch_geometric_rfm.audit.raw_tables import RawTables
from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.rule import Rule

_UNDATED = 'CAST(-9223372036854775808 AS BIGINT)'
_PARENTS = 'SELECT parent FROM links WHERE child <> parent'


def judge_rows(connection: Any, raw: RawTables, contexts: ContextTables) -> None:
    r"""Makes the table :obj:`judged_rows`: rows of contexts beside raw rows."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE judged_rows (
            row BIGINT, context BIGINT, tab BIGINT, idx BIGINT, time BIGINT,
            is_seed BOOLEAN, visible_until BIGINT, seed_time BIGINT,
            raw_time BIGINT, found BOOLEAN, is_dated BOOLEAN, is_label BOOLEAN)
        """
    )
    for tab, name in enumerate(contexts.table_names):
        is_label = tab == len(contexts.table_names) - 1
        source = 'labels' if is_label else raw.name(name)
        is_dated = is_label or raw.is_dated(name)
        connection.execute(
            f"""
            INSERT INTO judged_rows
            SELECT r.*, c.visible_until, c.seed_time, x.time, x.row IS NOT NULL,
                   {is_dated}, {is_label}
            FROM context_rows r JOIN contexts c USING (context)
            LEFT JOIN {source} x ON x.row = r.idx WHERE r.tab = {tab}
            """
        )


def judge_links(
    connection: Any, raw: RawTables, task: RawTask, contexts: ContextTables
) -> None:
    r"""Makes the table :obj:`raw_links`: those that the raw keys have between
    the rows of a context.

    Raises:
        ValueError: If contexts have a foreign key that the database lacks.
    """
    connection.execute(
        'CREATE OR REPLACE TEMP TABLE raw_links '
        '(child BIGINT, parent BIGINT, fkey BIGINT)'
    )
    keys = {
        f'{table}.{fkey}': (table, parent, raw.parent_rows(table, fkey))
        for table, source in raw.tables.items()
        for fkey, parent in source.fkey_col_to_pkey_table.items()
    }
    label_key = 'SELECT row, entity AS parent FROM labels'
    for number, name in enumerate(contexts.fkey_names):
        if number == len(contexts.fkey_names) - 1:
            child, parent, query = task.name, task.entity_table, label_key
        elif name in keys:
            child, parent, query = keys[name]
        else:
            raise ValueError(
                f"contexts have a foreign key '{name}' that the database lacks (known "
                f'are: {", ".join(keys)})'
            )
        connection.execute(
            f"""
            INSERT INTO raw_links
            SELECT a.row, b.row, {number} FROM context_rows a
            JOIN ({query}) x ON x.row = a.idx JOIN context_rows b
            ON b.context = a.context AND b.idx = x.parent
            WHERE a.tab = {contexts.table_names.index(child)}
            AND b.tab = {contexts.table_names.index(parent)}
            """
        )


def row_rules(task: RawTask, strict: bool) -> list[Rule]:
    r"""The rules about rows and links."""
    future = _future(strict)
    # The seed itself has a rule of its own, and so does its second appearance.
    labels = (
        'FROM judged_rows r JOIN seeds s USING (context) WHERE r.is_label AND r.found '
        'AND NOT (r.tab = s.tab AND r.idx = s.idx)'
    )
    return [
        Rule(
            'future_rows',
            'rows from the future',
            'rows',
            'SELECT count(*) FROM judged_rows WHERE NOT is_label AND is_dated',
            f"""
            SELECT context, tab, idx, 'of ' || date_text(raw_time) || ', visible until '
                || date_text(visible_until) || CASE WHEN row IN ({_PARENTS})
                THEN ', a parent' ELSE '' END AS detail
            FROM judged_rows WHERE {future}
            """,
        ),
        Rule(
            'undated_rows',
            'rows without a time in a dated table',
            'rows',
            'SELECT count(*) FROM judged_rows WHERE NOT is_label AND is_dated',
            """
            SELECT context, tab, idx, 'has no time' AS detail FROM judged_rows
            WHERE NOT is_label AND is_dated AND found AND raw_time IS NULL
            """,
        ),
        Rule(
            'unknown_labels',
            'labels not yet known',
            'rows',
            f'SELECT count(*) {labels}',
            f"""
            SELECT context, r.tab, r.idx, 'of ' || date_text(r.raw_time) || ', known '
                || '{task.horizon:g} seconds later, visible until '
                || date_text(r.visible_until) AS detail
            {labels} AND NOT (r.raw_time < r.visible_until
            AND r.raw_time + {task.horizon!r}::DOUBLE <= r.visible_until)
            """,
        ),
        Rule(
            'rows',
            'rows unlike those of the raw tables',
            'rows',
            'SELECT count(*) FROM judged_rows',
            f"""
            SELECT context, tab, idx, CASE WHEN found THEN 'has the time '
                || date_text(time) || ' instead of ' || coalesce(date_text(raw_time),
                'none') ELSE 'is no row of the table' END AS detail
            FROM judged_rows WHERE NOT found OR (
                raw_time IS NOT NULL AND time <> raw_time)
                OR (NOT is_dated AND time <> {_UNDATED})
            """,
        ),
        Rule(
            'links',
            'links unlike the raw keys',
            'links',
            'SELECT count(*) FROM links',
            """
            SELECT context, tab, idx, detail FROM (
                (SELECT *, 'has a link that its keys lack' AS detail FROM (
                    FROM links EXCEPT ALL FROM raw_links))
                UNION ALL
                (SELECT *, 'lacks a link that its keys have' AS detail FROM (
                    FROM raw_links EXCEPT ALL FROM links))
            ) JOIN context_rows ON row = child
            """,
        ),
    ]


def future_by_table(strict: bool) -> str:
    r"""A query of rows from the future by table: parents, others, and the cells
    and contexts of both.
    """
    return f"""
        SELECT tab, count(*) FILTER (WHERE is_parent),
               count(*) FILTER (WHERE NOT is_parent),
               CAST(coalesce(sum(num_cells), 0) AS BIGINT), count(DISTINCT context)
        FROM (SELECT *, row IN ({_PARENTS}) AS is_parent FROM judged_rows
              WHERE {_future(strict)})
        LEFT JOIN (SELECT row, count(*) AS num_cells FROM cells GROUP BY row)
        USING (row) GROUP BY tab ORDER BY tab
    """


def _future(strict: bool) -> str:
    late = '>=' if strict else '>'
    return f'NOT is_label AND is_dated AND raw_time {late} visible_until'
