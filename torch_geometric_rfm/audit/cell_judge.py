r"""What each cell of a context must hold, by the raw tables."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_geometric_rfm.audit.context_tables import ContextTables
from torch_geometric_rfm.audit.raw_tables import RawTables
from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.scales import (
    Scales,
    datetime_scales,
    label_scales,
    number_scales,
)
from torch_geometric_rfm.audit.summaries import find_summary, make_summary
from torch_geometric_rfm.data.cell_type import CellType

if TYPE_CHECKING:
    from torch_geometric_rfm.data.text_encoder import TextEncoder

_TOLERANCE = 1e-4  # of the components of an embedding


class CellJudge:
    r"""Makes the table :obj:`judged_cells`: cells beside what they must hold.

    :obj:`expected` is the score with statistics up to the cutoff,
    :obj:`expected_all` with those of all rows; :obj:`present` says whether the
    raw row has a value, :obj:`problem` why there may be no such cell at all.
    """

    def __init__(
        self,
        connection: Any,
        raw: RawTables,
        task: RawTask,
        contexts: ContextTables,
        cutoff: int,
        encoder: 'TextEncoder | None',
        strict: bool = False,
    ) -> None:
        self.strict = strict
        self.connection, self.raw, self.task = connection, raw, task
        self.contexts, self.cutoff, self.encoder = contexts, cutoff, encoder

    def judge(self) -> None:
        r"""Makes the tables :obj:`judged_cells` and :obj:`wrong_texts`."""
        self.connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE judged_cells (
                cell BIGINT, context BIGINT, tab BIGINT, idx BIGINT, col BIGINT,
                kind BIGINT, mask BOOLEAN, value DOUBLE, relative_time DOUBLE,
                target DOUBLE, text BIGINT, is_question BOOLEAN, raw DOUBLE,
                present BOOLEAN, expected DOUBLE, expected_all DOUBLE,
                expected_relative DOUBLE, is_hidden BOOLEAN, is_answer BOOLEAN,
                problem VARCHAR, phrase VARCHAR);
            CREATE OR REPLACE TEMP TABLE wrong_texts (cell BIGINT);
            """
        )
        self.datetimes = datetime_scales(self.connection, self.raw, self.cutoff)
        seen = self.connection.execute(
            'SELECT DISTINCT tab, col, kind FROM cells JOIN context_rows USING (row) '
            'ORDER BY ALL'
        ).fetchall()
        for tab, col, kind in seen:
            table, name = (
                self.contexts.table_names[tab],
                self.contexts.column_names[col],
            )
            column = name.removesuffix(f' of {table}')
            if tab == len(self.contexts.table_names) - 1:
                self._judge_label(tab, col, kind, column)
            elif column == name or column not in self.raw.features(table):
                self._insert(tab, col, kind, problem='may be no cell')
            else:
                self._judge_column(tab, col, kind, table, column)

    def _judge_label(self, tab: int, col: int, kind: int, column: str) -> None:
        if column == self.task.target_col and kind >= CellType.CATEGORY:
            self._insert(tab, col, kind, 'labels', text='x.class', question=True)
            if self.encoder is not None:
                query = 'SELECT class FROM labels ORDER BY row'
                classes = self.connection.execute(query).fetchnumpy()['class']
                self._compare_texts(self.encoder, col, np.asarray(classes))
        elif column == self.task.target_col:
            scales = label_scales(self.connection)
            flags: dict[str, Any] = {'clip': True, 'question': True}
            self._insert(tab, col, kind, 'labels', 'x.label', scales, **flags)
        elif column == self.task.time_col:
            self._insert_dates(tab, col, kind, 'labels', 'x.time')
        elif summary := find_summary(
            self.raw, self.task, self.contexts.column_names[col]
        ):
            scale = make_summary(
                self.connection,
                self.raw,
                self.task,
                summary,
                self.cutoff,
                self.strict,
            )
            self._insert(tab, col, kind, 'summary', 'x.v', Scales(scale, scale))
        else:
            self._insert(tab, col, kind, problem='is no column of the task')

    def _judge_column(
        self, tab: int, col: int, kind: int, table: str, column: str
    ) -> None:
        hidden = (table, column) in self.task.hidden
        flags: dict[str, Any] = {'hidden': hidden}
        if (table, column) == (self.task.entity_table, self.task.target_col):
            flags['answer'] = hidden and self.task.is_autocomplete
        source = self.raw.name(table)
        if kind == CellType.DATETIME:
            seconds = self.raw.seconds(table, column)
            self._insert_dates(tab, col, kind, source, seconds, **flags)
        elif kind < CellType.DATETIME:
            scales = number_scales(
                self.connection, self.raw, table, column, self.cutoff
            )
            if kind == CellType.BOOLEAN:
                scales = Scales(*(scale.of_boolean() for scale in scales))
            value = self.raw.values(table, column)
            self._insert(tab, col, kind, source, value, scales, clip=True, **flags)
        else:
            name = self.raw.column(table, column)
            self._insert(tab, col, kind, source, text=f'x.{name}', **flags)
            if self.encoder is not None and kind != CellType.EMBEDDING:
                values = self.raw.tables[table].df[column].to_numpy()
                self._compare_texts(self.encoder, col, values)

    def _insert_dates(
        self, tab: int, col: int, kind: int, source: str, raw: str, **flags: Any
    ) -> None:
        relative = f'log_days(CAST(({raw}) - r.seed_time AS DOUBLE))'
        self._insert(
            tab, col, kind, source, raw, self.datetimes, relative=relative, **flags
        )

    def _insert(
        self,
        tab: int,
        col: int,
        kind: int,
        source: str | None = None,
        raw: str = 'NULL',
        scales: Scales | None = None,
        clip: bool = False,
        relative: str = '0',
        text: str | None = None,
        hidden: bool = False,
        answer: bool = False,
        question: bool = False,
        problem: str | None = None,
    ) -> None:
        scores = ['0', '0']
        if scales is not None:
            scores = [scale.score(raw) for scale in scales]
            scores = [f'clip({score})' for score in scores] if clip else scores
        join = f'LEFT JOIN {source} x ON x.row = r.idx' if source else ''
        own = f'{answer} AND r.idx = s.entity'
        self.connection.execute(
            f"""
            INSERT INTO judged_cells
            SELECT c.cell, r.context, r.tab, r.idx, c.col, c.kind, c.mask, c.value,
                   c.relative_time, c.target, c.text, r.is_seed AND {question}, {raw},
                   {text or f'({raw})'} IS NOT NULL, {scores[0]}, {scores[1]},
                   {relative}, {hidden} AND NOT coalesce({own}, FALSE),
                   coalesce({own}, FALSE), $problem, $phrase
            FROM cells c JOIN judged_rows r USING (row) JOIN seeds s USING (context)
            {join} WHERE r.tab = {tab} AND c.col = {col} AND c.kind = {kind}
            """,
            {'problem': problem, 'phrase': self.contexts.column_names[col]},
        )

    def _compare_texts(
        self, encoder: 'TextEncoder', col: int, values: NDArray[Any]
    ) -> None:
        found = self.connection.execute(
            f'SELECT cell, text, idx FROM judged_cells WHERE col = {col} AND present '
            f'AND NOT mask'
        ).fetchnumpy()
        cell, text, index = (np.asarray(found[key]) for key in ('cell', 'text', 'idx'))
        if cell.size == 0:
            return
        place: dict[str, int] = {}
        inverse = [place.setdefault(str(value), len(place)) for value in values[index]]
        expected = encoder.encode(list(place))[torch.tensor(inverse)]
        given = torch.from_numpy(self.contexts.embeddings[text].copy())
        wrong = torch.full((cell.size,), True)
        if given.size() == expected.size():
            wrong = (given - expected).abs().amax(dim=1) > _TOLERANCE
        self.connection.execute(
            'INSERT INTO wrong_texts SELECT unnest($cells)',
            {'cells': cell[wrong.numpy()].tolist()},
        )
