from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from torch_geometric_rfm.audit import AuditReport, RuleResult


def print_audit(report: AuditReport, console: Console) -> None:
    r"""Prints what an audit looked at and found, rule by rule.

    Args:
        report (AuditReport): The report.
        console (rich.console.Console): Where it is printed.
    """
    grid = Table(
        title=f'{escape(report.task)}, {report.protocol} protocol: '
        f'{report.contexts:,} contexts, {report.rows:,} rows, {report.cells:,} cells',
        title_justify='left',
        title_style='bold',
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    grid.add_column('rule', overflow='fold')
    grid.add_column('checked', justify='right', no_wrap=True)
    grid.add_column('findings', justify='right', no_wrap=True)
    if report.findings:
        grid.add_column('first example', overflow='fold')
    for rule in report.rules:
        grid.add_row(rule.title, f'{rule.checked:,} {rule.unit}', *_found(rule))
    console.print(grid)
    for table, counts in report.future_by_table.items():
        console.print(
            f"rows from the future of '{escape(table)}': {counts['parents']:,} as "
            f'parents, {counts["others"]:,} otherwise ({counts["cells"]:,} cells in '
            f'{counts["contexts"]:,} contexts)'
        )
    console.print(f'strings: {escape(report.strings)}; {report.seconds:.1f} seconds')
    if report.findings:
        console.print(
            f'[red]{report.findings:,} findings[/] ({", ".join(report.broken)})'
        )
    else:
        console.print('[green]nothing found[/]')


def _found(rule: RuleResult) -> list[str]:
    if rule.clean:
        return ['0', '']
    counts = f'[red]{rule.findings:,}[/] in {rule.contexts:,} contexts'
    return [counts, escape(str(rule.example))]
