from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from torch_geometric_rfm.data.summary import NEEDS_HORIZON
from torch_geometric_rfm.data.task import SPLITS

_WORDS = {'0 days': 'at once', '1 days': '1 day'}
_PLURAL = {
    'dangling key': 'dangling keys',
    'date out of range': 'dates out of range',
    'missing time': 'missing times',
}


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
    grid = Table(
        title=title,
        title_justify='left',
        title_style='bold',
        caption_justify='left',
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        justify: Any = 'right' if column in right else 'left'
        grid.add_column(column, justify=justify, overflow='fold')
    grid.columns[0].no_wrap = True
    return grid


def _tables(tables: list[dict[str, Any]]) -> Table:
    grid = _grid(
        'Tables',
        'table',
        'rows',
        'columns',
        'time column',
        'from',
        'to',
        right=('rows', 'columns'),
    )
    for table in tables:
        span = table['time_span'] or ('', '')
        grid.add_row(
            escape(table['name']),
            f'{table["rows"]:,}',
            f'{len(table["columns"]):,}',
            escape(table['time_column'] or '-'),
            span[0][:10],
            span[1][:10],
        )
    return grid


def _columns(tables: list[dict[str, Any]]) -> Table:
    names = ['column', 'type', 'missing', 'unique strings', 'anomalies']
    grid = _grid('Columns', *names, right=('missing', 'unique strings'))
    for table in tables:
        if grid.row_count:
            grid.add_row()
        grid.add_row(f'[bold]{escape(table["name"])}[/]')
        if table['primary_key'] is not None:
            grid.add_row(f'  {escape(table["primary_key"])}', 'primary key')
        for key in table['foreign_keys']:
            grid.add_row(*_key_line(key, table['rows']))
        for column in table['columns']:
            grid.add_row(*_column_line(column))
    if not any(grid.columns[-1].cells):
        grid.columns.pop()
        grid.caption = (
            'no infinite numbers, dates out of range, missing times or dangling keys'
        )
    return grid


def _key_line(key: dict[str, Any], rows: int) -> list[str]:
    missing = _share(key['anomalies'].get('null key', 0) / max(1, rows))
    link = f'key → {key["parent"]}'
    odd = _anomalies(key['anomalies'])
    return [f'  {escape(key["column"])}', escape(link), missing, '', odd]


def _column_line(column: dict[str, Any]) -> list[str]:
    strings = column['unique_strings']
    return [
        f'  {escape(column["name"])}',
        column['type'],
        _share(column['null_share']),
        '' if strings is None else f'{strings:,}',
        _anomalies(column['anomalies']),
    ]


def _anomalies(counts: dict[str, int]) -> str:
    # What is null stands in a column of its own.
    words = [
        f'{count:,} {kind if count == 1 else _PLURAL.get(kind, kind)}'
        for kind, count in counts.items()
        if kind not in ('null', 'null key')
    ]
    return ', '.join(words)


def _share(share: float) -> str:
    if share == 0:
        return ''
    return f'{share:.0%}' if share >= 0.01 else '< 1%'


def _tasks(tasks: list[dict[str, Any]]) -> Table:
    grid = _grid(
        'Tasks',
        'task',
        'type',
        *SPLITS,
        'known\nafter',
        'ready',
        right=SPLITS,
    )
    # Names stand in full, what they mean is folded below them.
    for column in grid.columns:
        column.no_wrap = column.header in ('type', *SPLITS)
    grid.columns[-1].min_width = len('ready')
    grid.columns[0].min_width = max(len(task['name']) for task in tasks)
    for task in tasks:
        counts = [task['rows'].get(split) for split in SPLITS]
        grid.add_row(
            f'{escape(task["name"])}\n[dim]{escape(_meaning(task))}[/]',
            (task['type'] or '-').removesuffix('_classification'),
            *('-' if count is None else f'{count:,}' for count in counts),
            _WORDS.get(task['horizon'], task['horizon']) or '-',
            _ready(task),
        )
    return grid


def _meaning(task: dict[str, Any]) -> str:
    if task['type'] is None:
        return 'cannot be read'
    kind = f'{task["kind"]}: ' if task['kind'] else ''
    return f'{kind}{task["target"]} of {task["entity_table"]}'


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
            '[yellow]--horizon[/] says how long after the time of a row its label is '
            "known, for example --horizon '45 days'."
        )
    ready = [
        task['name']
        for task in summary['tasks']
        if task['trainable'] and task['type'] != 'recommendation'
    ]
    if ready and summary['path']:
        what = f'{escape(summary["path"])} {escape(ready[0])}'
        console.print(
            f'Ask the pretrained model: pyg-rfm evaluate {what}\n'
            f'Train it further: pyg-rfm finetune {what} --out runs/{escape(ready[0])}',
            soft_wrap=True,
        )
