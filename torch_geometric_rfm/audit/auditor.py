import time
from typing import TYPE_CHECKING, Any

from torch_geometric_rfm.audit.cell_judge import CellJudge
from torch_geometric_rfm.audit.cell_rules import cell_rules, find_wrong_cells
from torch_geometric_rfm.audit.context_tables import ContextTables
from torch_geometric_rfm.audit.raw_tables import RawTables
from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.audit.report import AuditReport, Finding, RuleResult
from torch_geometric_rfm.audit.row_rules import (
    future_by_table,
    judge_links,
    judge_rows,
    row_rules,
)
from torch_geometric_rfm.audit.rule import Rule
from torch_geometric_rfm.audit.seed_rules import judge_seeds, seed_rules, unix_seconds
from torch_geometric_rfm.data.cell_data import CellData

if TYPE_CHECKING:
    from relbench.base import BaseTask, Database

    from torch_geometric_rfm.data.task import Task
    from torch_geometric_rfm.data.text_encoder import TextEncoder


class ContextAuditor:
    r"""Checks contexts against the raw tables of their database, by SQL.

    It takes the batches of any loader, reads their public fields alone, and
    shares no code with the store and the sampler: times, keys, labels and
    statistics come from the data frames through DuckDB.

    Args:
        db (relbench.base.Database or RawTables): The database, uncut. Pass
            :class:`~torch_geometric_rfm.audit.RawTables` to share them
            between audits; they then bring :obj:`col_to_stype`.
        task (Task or relbench.base.BaseTask): The task of the contexts.
        protocol (str): The protocol that they promise.
            (default: :obj:`"rolling"`)
        strict (bool): Whether they leave out rows of exactly the time
            :obj:`visible_until`. (default: :obj:`False`)
        horizon (str or pd.Timedelta, optional): When a label becomes known,
            counted from its time; what the task says if not given.
            (default: :obj:`None`)
        cutoff (pd.Timestamp, optional): The last time that statistics may
            count; that of the train split if not given.
            (default: :obj:`None`)
        text_encoder (TextEncoder, optional): The encoder of the contexts, to
            compare strings; without one they are only checked for presence.
            (default: :obj:`None`)
        col_to_stype (dict, optional): What was given to
            :func:`~torch_geometric_rfm.data.to_hetero`.
            (default: :obj:`None`)

    Raises:
        ImportError: If DuckDB is not installed.
        ValueError: If the protocol is unknown, or there is no cutoff.

    Example:
        >>> from torch_geometric_rfm.loader import ContextLoader
        >>> from torch_geometric_rfm.testing import toy_database, toy_task_store
        >>> store = toy_task_store()
        >>> auditor = ContextAuditor(toy_database(), store.task)
        >>> for cells in ContextLoader(store, num_cells=32, input_nodes='test'):
        ...     auditor.add(cells)
        >>> auditor.report()
        AuditReport('customer-orders', protocol=rolling, contexts=90, findings=0)
    """

    def __init__(
        self,
        db: 'Database | RawTables',
        task: 'Task | BaseTask',
        protocol: str = 'rolling',
        *,
        strict: bool = False,
        horizon: Any = None,
        cutoff: Any = None,
        text_encoder: 'TextEncoder | None' = None,
        col_to_stype: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self._start = time.monotonic()
        if protocol not in ('rolling', 'frozen'):
            raise ValueError(
                f"protocol must be 'rolling' or 'frozen' (got '{protocol}')"
            )
        self.raw = db if isinstance(db, RawTables) else RawTables(db, col_to_stype)
        self.task = RawTask(task, horizon)
        self.protocol, self.strict = protocol, strict
        self.text_encoder = text_encoder
        cutoff = self.task.cutoffs.get('train') if cutoff is None else cutoff
        if cutoff is None:
            raise ValueError(
                f"task '{self.task.name}' has no cutoff for its train split; pass "
                f'cutoff=, the last time that statistics may count'
            )
        self.cutoff = unix_seconds(cutoff)
        # Temporary tables belong to a cursor: audits do not meet.
        self.connection = self.raw.connection.cursor()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.task.load(self.connection, self.raw)
        self.contexts = ContextTables(self.connection)

    def add(self, cells: CellData) -> None:
        r"""Takes a batch of contexts.

        Raises:
            TypeError: If it is no :class:`~torch_geometric_rfm.data.CellData`.
            ValueError: If it has tables that the database lacks, is not of the
                task, or has other tables or columns than batches before.
        """
        if not isinstance(cells, CellData):
            raise TypeError(f"'cells' must be a CellData (got {type(cells).__name__})")
        *tables, label_table = cells.table_names
        if label_table != self.task.name:
            raise ValueError(
                f"the contexts are not of task '{self.task.name}' (their last table is "
                f"'{label_table}')"
            )
        unknown = set(tables) - set(self.raw.tables)
        if unknown:
            raise ValueError(
                f'contexts have tables that the database lacks (got {sorted(unknown)}, '
                f'known are: {", ".join(self.raw.tables)})'
            )
        self.contexts.add(cells)

    def report(self) -> AuditReport:
        r"""What was found in all batches so far.

        Raises:
            ValueError: If there were none, or they have foreign keys that the
                database lacks.
        """
        if self.contexts.num_contexts == 0:
            raise ValueError('there are no contexts to audit; add a batch first')
        connection, contexts = self.connection, self.contexts
        judge_rows(connection, self.raw, contexts)
        judge_links(connection, self.raw, self.task, contexts)
        judge_seeds(connection, self.task, contexts, self.protocol)
        CellJudge(
            connection,
            self.raw,
            self.task,
            contexts,
            self.cutoff,
            self.text_encoder,
            self.strict,
        ).judge()
        find_wrong_cells(connection)
        rules = [
            *row_rules(self.task, self.strict),
            *seed_rules(self.task, contexts, self.protocol),
            *cell_rules(),
        ]
        strings = 'presence only'
        if self.text_encoder is not None:
            strings = f'embeddings by {self.text_encoder.name}'
        return AuditReport(
            task=self.task.name,
            protocol=self.protocol,
            contexts=contexts.num_contexts,
            rows=contexts.num_rows,
            cells=contexts.num_cells,
            rules=[self._apply(rule) for rule in rules],
            future_by_table=self._future_by_table(),
            strings=strings,
            seconds=time.monotonic() - self._start,
        )

    def _apply(self, rule: Rule) -> RuleResult:
        checked = self.connection.execute(rule.checked).fetchone()[0]
        query = f'FROM ({rule.findings})'
        findings, contexts = self.connection.execute(
            f'SELECT count(*), count(DISTINCT context) {query}'
        ).fetchone()
        example = None
        if findings:
            context, tab, index, detail = self.connection.execute(
                f'SELECT context, tab, idx, detail {query} ORDER BY ALL LIMIT 1'
            ).fetchone()
            example = Finding(self.contexts.table_names[tab], index, context, detail)
        return RuleResult(
            rule.name, rule.title, rule.unit, checked, findings, contexts, example
        )

    def _future_by_table(self) -> dict[str, dict[str, int]]:
        keys = ('parents', 'others', 'cells', 'contexts')
        found = self.connection.execute(future_by_table(self.strict)).fetchall()
        return {
            self.contexts.table_names[tab]: dict(zip(keys, counts))
            for tab, *counts in found
        }

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}('{self.task.name}', protocol={self.protocol}, "
            f'contexts={self.contexts.num_contexts})'
        )
