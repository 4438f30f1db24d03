from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from torch_geometric_rfm.data.summary import NEEDS_HORIZON


def print_summary(summary: dict[str, Any], console: Console) -> None:
    r"""Prints what a database holds: its tables, their columns, and its tasks.

    Args:
        summary (dict): What
            :func:`~torch_geometric_rfm.data.summary.summarize_database` returned.
        console (rich.console.Console): Where it is printed.
    """
    tables, tasks = summary['tables'], summary['tasks']
    span = summary['time_span']
    facts = [
        f'{len(tables)} tables',
        f'{summary["rows"]:,} rows',
        f'{span[0][:10]} to {span[1][:10]}' if span else 'undated',
    ]
    console.print(Text(summary['name'], style='bold'), '·', ', '.join(facts))
    if summary['val_timestamp']:
        console.print(
            f'validation starts {summary["val_timestamp"]}, '
            f'test starts {summary["test_timestamp"]}'
        )
    console.print(_tables(tables))
    console.print(_columns(tables))
    if tasks:
        console.print(_tasks(tasks))
    _print_notes(summary, console)


def _grid(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify='left', title_style='bold', expand=False)
    for column in columns:
        table.add_column(column, justify='right' if column in right else 'left')
    table.columns[0].no_wrap = True
    return table


def _tables(tables: list[dict[str, Any]]) -> Table:
    grid = _grid(
        'Tables',
        'table',
        'rows',
        'primary key',
        'time column, from, to',
        'foreign keys → parent',
        right=('rows',),
    )
    for table in tables:
        span = table['time_span']
        dates = f'\n{span[0][:10]}, {span[1][:10]}' if span else ''
        keys = [f'{key["column"]} → {key["parent"]}' for key in table['foreign_keys']]
        grid.add_row(
            escape(table['name']),
            f'{table["rows"]:,}',
            escape(table['primary_key'] or '-'),
            escape((table['time_column'] or '-') + dates),
            escape('\n'.join(keys) or '-'),
        )
    return grid


def _columns(tables: list[dict[str, Any]]) -> Table:
    grid = _grid(
        'Columns',
        'table',
        'column',
        'type',
        'missing',
        'unique strings',
        'anomalies',
        right=('missing', 'unique strings'),
    )
    for table in tables:
        if grid.row_count:
            grid.add_section()
        name = table['name']
        for key in table['foreign_keys']:
            if key['anomalies']:
                odd = _anomalies(key['anomalies'])
                grid.add_row(escape(name), escape(key['column']), 'key', '', '', odd)
                name = ''
        for column in table['columns']:
            strings = column['unique_strings']
            grid.add_row(
                escape(name),
                escape(column['name']),
                column['type'],
                _share(column['null_share']),
                '' if strings is None else f'{strings:,}',
                _anomalies(column['anomalies']),
            )
            name = ''
        if name:
            grid.add_row(escape(name), '-')
    return grid


def _anomalies(counts: dict[str, int]) -> str:
    # Nulls stand in a column of their own.
    return ', '.join(
        f'{count:,} {_plural(kind, count)}'
        for kind, count in counts.items()
        if kind != 'null'
    )


def _plural(kind: str, count: int) -> str:
    if kind in ('infinite', 'missing time') or count == 1:
        return kind
    return kind.replace('date ', 'dates ').replace(' key', ' keys')


def _share(share: float) -> str:
    if share == 0:
        return ''
    return f'{share:.0%}' if share >= 0.01 else '< 1%'


def _tasks(tasks: list[dict[str, Any]]) -> Table:
    grid = _grid(
        'Tasks',
        'task',
        'type',
        'entity table, target',
        'train / val / test rows',
        'label known after',
        'ready',
    )
    for task in tasks:
        kinds = [(task['type'] or '').removesuffix('_classification'), task['kind']]
        target = [task['entity_table'], task['target']]
        grid.add_row(
            escape(task['name']),
            escape('\n'.join(filter(None, kinds)) or '-'),
            escape('\n'.join(filter(None, target)) or '-'),
            ' / '.join(f'{count:,}' for count in task['rows'].values()) or '-',
            task['horizon'] or '-',
            _ready(task),
        )
    return grid


def _ready(task: dict[str, Any]) -> str:
    if task['trainable']:
        return '[green]yes[/]'
    if task['horizon'] == NEEDS_HORIZON:
        return '[yellow]with --horizon[/]'
    return '[red]no[/]'


def _print_notes(summary: dict[str, Any], console: Console) -> None:
    for table in summary['tables']:
        for error in table['errors']:
            console.print(f'[red]Error:[/] {escape(error)}')
    for task in summary['tasks']:
        if task['problem'] and task['horizon'] != NEEDS_HORIZON:
            console.print(f'[yellow]Not ready:[/] {escape(task["problem"])}')
    if any(task['horizon'] == NEEDS_HORIZON for task in summary['tasks']):
        console.print(
            "[yellow]--horizon[/] says how long after the time of a row its label is "
            "known, for example --horizon '45 days'."
        )
    ready = [task['name'] for task in summary['tasks'] if task['trainable']]
    if ready and summary['path']:
        console.print(
            f'Train one: pyg-rfm finetune {escape(summary["path"])} '
            f'{escape(ready[0])} --from-scratch --out runs/{escape(ready[0])}',
            soft_wrap=True,
        )
