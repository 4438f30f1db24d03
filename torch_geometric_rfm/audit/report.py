from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    r"""A row of a context that breaks a rule.

    Args:
        table: Its table.
        row: Its position in the table.
        context: The number of the context, in the order in which they came.
        detail: What is wrong.

    Example:
        >>> print(Finding('orders', 7, 0, 'has no time'))
        row 7 of 'orders' in context 0 has no time
    """

    table: str
    row: int
    context: int
    detail: str

    def __str__(self) -> str:
        return (
            f"row {self.row} of '{self.table}' in context {self.context} {self.detail}"
        )


@dataclass(frozen=True)
class RuleResult:
    r"""What an audit found of one rule.

    Args:
        name: The name of the rule.
        title: What a finding is, in words.
        unit: What was counted.
        checked: How many were looked at.
        findings: How many broke the rule.
        contexts: In how many contexts.
        example: The first of them.

    Example:
        >>> RuleResult('future_rows', 'rows from the future', 'rows', 40, 0, 0).clean
        True
    """

    name: str
    title: str
    unit: str
    checked: int
    findings: int
    contexts: int
    example: Finding | None = None

    @property
    def clean(self) -> bool:
        r"""Whether nothing was found."""
        return self.findings == 0


@dataclass(frozen=True)
class AuditReport:
    r"""What an audit looked at, and what it found.

    Args:
        task: The name of the task.
        protocol: The protocol that the contexts promise.
        contexts, rows, cells: How many were checked.
        rules: What was found, rule by rule.
        future_by_table: For each table with rows from the future, how many
            were reached as :obj:`parents` of other rows and how many as
            :obj:`others`, and the :obj:`cells` and :obj:`contexts` of both.
        strings: How strings were compared.
        seconds: The time it took.
        database: The database.
        seed: The seed of the draw.

    Example:
        >>> report = AuditReport('customer-orders', 'rolling', 2, 30, 64, [])
        >>> report
        AuditReport('customer-orders', protocol=rolling, contexts=2, findings=0)
    """

    task: str
    protocol: str
    contexts: int
    rows: int
    cells: int
    rules: list[RuleResult]
    future_by_table: dict[str, dict[str, int]] = field(default_factory=dict)
    strings: str = ''
    seconds: float = 0.0
    database: str = ''
    seed: int | None = None

    @property
    def findings(self) -> int:
        r"""How many findings there are, of all rules."""
        return sum(rule.findings for rule in self.rules)

    @property
    def broken(self) -> list[str]:
        r"""The names of the rules with findings."""
        return [rule.name for rule in self.rules if not rule.clean]

    def to_dict(self) -> dict[str, Any]:
        r"""The report for a machine."""
        return {
            'database': self.database,
            'task': self.task,
            'protocol': self.protocol,
            'seed': self.seed,
            'contexts': self.contexts,
            'rows': self.rows,
            'cells': self.cells,
            'findings': {rule.name: rule.findings for rule in self.rules},
            'checked': {rule.name: rule.checked for rule in self.rules},
            'contexts_with_findings': {r.name: r.contexts for r in self.rules},
            'examples': {r.name: str(r.example) for r in self.rules if r.example},
            'future_rows_by_table': self.future_by_table,
            'strings': self.strings,
            'seconds': round(self.seconds, 2),
        }

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}('{self.task}', protocol={self.protocol}, "
            f'contexts={self.contexts}, findings={self.findings})'
        )
