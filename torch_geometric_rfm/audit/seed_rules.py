r"""Rules about seeds: what is asked, up to when, and that its answer is hidden."""

from typing import Any

import pandas as pd

from torch_geometric_rfm.audit.context_tables import ContextTables
from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.rule import Rule


def judge_seeds(
    connection: Any, task: RawTask, contexts: ContextTables, protocol: str
) -> None:
    r"""Makes the table :obj:`seeds`: the seed of each context, with what the
    task table says of it.
    """
    until = 'l.time'
    if protocol == 'frozen':
        cases = ' '.join(
            f"WHEN '{split}' THEN least(l.time, {unix_seconds(cutoff)})"
            for split, cutoff in task.cutoffs.items()
        )
        until = f'CASE l.split {cases} ELSE l.time END' if cases else until
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE seeds AS
        SELECT c.context, c.seed_row, c.seed_time, c.visible_until, r.tab, r.idx,
               l.time AS raw_time, {until} AS raw_until, l.entity
        FROM contexts c JOIN context_rows r ON r.row = c.seed_row
        LEFT JOIN labels l ON l.row = r.idx
        AND r.tab = {len(contexts.table_names) - 1}
        """
    )


def seed_rules(task: RawTask, contexts: ContextTables, protocol: str) -> list[Rule]:
    r"""The rules about seeds."""
    label_column = contexts.column_names.index(f'{task.target_col} of {task.name}')
    return [
        Rule(
            'seed_label',
            "the seed's own label shows",
            'contexts',
            'SELECT count(*) FROM seeds',
            f"""
            SELECT context, tab, idx, 'has ' || count(cell)
                || ' cells for the label that is asked for' AS detail
            FROM seeds LEFT JOIN cells ON row = seed_row AND col = {label_column}
            GROUP BY context, tab, idx HAVING count(cell) <> 1
            UNION ALL
            SELECT context, tab, idx, 'shows its label: ' || CASE WHEN mask
                THEN 'value ' || number_text(value) ELSE 'not masked' END
            FROM seeds JOIN cells ON row = seed_row AND col = {label_column}
            WHERE NOT mask OR value <> 0 OR relative_time <> 0
            UNION ALL
            SELECT s.context, s.tab, s.idx, 'stands in its own context once more'
            FROM seeds s JOIN context_rows r USING (context, tab, idx)
            WHERE NOT r.is_seed
            UNION ALL
            SELECT context, tab, idx, 'shows the column that it asks for'
            FROM judged_cells WHERE is_answer
            """,
        ),
        Rule(
            'visible_until',
            f'clocks that the {protocol} protocol does not set',
            'contexts',
            'SELECT count(*) FROM seeds',
            """
            SELECT context, tab, idx, CASE
                WHEN raw_time IS NULL THEN 'is no row of the task table'
                WHEN seed_time <> raw_time THEN 'is asked about '
                    || date_text(seed_time) || ' instead of ' || date_text(raw_time)
                ELSE 'looks until ' || date_text(visible_until) || ' instead of '
                    || date_text(raw_until) END AS detail
            FROM seeds WHERE raw_time IS NULL OR seed_time <> raw_time
            OR visible_until <> raw_until
            """,
        ),
    ]


def unix_seconds(time: Any) -> int:
    r"""Unix seconds of a time, rounded down."""
    stamp = pd.Timestamp(time)
    return int((stamp.tz_localize(None) - pd.Timestamp(0)) // pd.Timedelta('1s'))
