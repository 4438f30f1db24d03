r"""Turns the lines of results into tables and plots.

    python benchmark/relbench/report.py --out report --plots

A cell is the mean over seeds with its 95 % interval; in bold is what is better than
every other model by a paired bootstrap over the entities of the split and over seeds,
and of two models at a time the tasks on which it tells them apart.
Published figures have a column and, those of other systems, a table of their own.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmark.relbench.averages import averaged_score
from benchmark.relbench.duels import duels
from benchmark.relbench.inputs import PROTOCOLS
from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN
from benchmark.relbench.models import MODELS
from benchmark.relbench.published import PUBLISHED, Published
from benchmark.relbench.results import read_lines
from benchmark.relbench.rst import markdown, to_rst
from benchmark.relbench.run import RESULTS
from benchmark.relbench.table import Cell, cells_of, different_versions

COLUMNS = [(protocol, split) for protocol in PROTOCOLS for split in ('val', 'test')]


def report(lines: list[dict[str, Any]], folder: Path, bold: bool = True) -> str:
    r"""Markdown of all lines, a section a database and task.

    Args:
        lines: What :func:`~benchmark.relbench.results.read_lines` gave.
        folder: Where their predictions are.
        bold: Whether to mark what is significantly best, which takes minutes.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line['database'], line['task']), []).append(line)
    sections = [
        _section(database, task, group, folder, bold)
        for (database, task), group in sorted(groups.items())
    ]
    sections[:0] = [duels(groups, folder, bold), _averages(groups, folder)]
    for database in sorted({key[0] for key in groups}):
        own = {task: g[0] for (db, task), g in groups.items() if db == database}
        sections += _published_table(database, own)
    return '\n'.join(sections)


def _averages(groups: dict[tuple[str, str], list[dict[str, Any]]], folder: Path) -> str:
    # Tasks and protocols down, models that have several seeds across.
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for (database, task), lines in sorted(groups.items()):
        for protocol in PROTOCOLS:
            for model in _in_order({line['model'] for line in lines}):
                chosen = [
                    line
                    for line in lines
                    if (line['model'], line['protocol']) == (model, protocol)
                ]
                value = averaged_score(chosen, folder) if chosen else None
                if value is not None:
                    row = found.setdefault((database, task, protocol), {})
                    row[model] = f'{value:.4f} ({len(chosen)})'
    if not found:
        return ''
    models = _in_order({model for row in found.values() for model in row})
    rows = [
        [*key, *(row.get(model, '') for model in models)] for key, row in found.items()
    ]
    title = '## Predictions averaged over seeds, test (seeds in brackets)'
    header = ['database', 'task', 'protocol', *models]
    return '\n'.join([title, '', *markdown(header, rows), ''])


def _section(
    database: str,
    task: str,
    lines: list[dict[str, Any]],
    folder: Path,
    bold: bool,
) -> str:
    cells = cells_of(lines, folder, bold)
    kind, rows = lines[0]['kind'], lines[0]['rows']
    metric = MAIN[kind]
    better = 'less' if metric in LESS_IS_BETTER else 'more'
    sizes = ', '.join(f'{count:,} {split}' for split, count in rows.items())
    about = f'{metric} ({better} is better); rows: {sizes}.'
    out = [f'## {database}: {task}', '', about, '']
    machines = {
        f'{m["processor"]}, cores used: {m["cores"]}'
        for m in (x['machine'] for x in lines)
    }
    out += [f'Machine: {"; ".join(sorted(machines))}.', '']
    for name, versions in different_versions(lines).items():
        out += [f'**Different versions of {name}: {", ".join(versions)}.**', '']
    out += _main_table(database, task, cells, metric, lines[0]['train_std'])
    for protocol in PROTOCOLS:
        out += _all_metrics(cells, protocol)
    return '\n'.join(out)


def _main_table(
    database: str,
    task: str,
    cells: dict[tuple[str, str], Cell],
    metric: str,
    train_std: float,
) -> list[str]:
    figures = [p for p in PUBLISHED if (p.database, p.task) == (database, task)]
    header = [
        'model',
        *(f'{protocol}, {split}' for protocol, split in COLUMNS),
        'seeds',
        'minutes',
        'seconds',
        'steps',
        'commit',
        *(['published, test'] if figures else []),
    ]
    rows = []
    for name in _in_order({key[0] for key in cells}):
        own = [p for p in figures if p.model == name]
        lines = cells.get((name, 'rolling'), cells.get((name, 'frozen'))).lines
        seconds = sum(line['seconds']['fit'] for line in lines) / len(lines)
        rows.append(
            [
                name,
                *(
                    cells[name, protocol].text(split, metric)
                    if (name, protocol) in cells
                    else ''
                    for protocol, split in COLUMNS
                ),
                str(len(lines)),
                ', '.join(sorted({f'{line["minutes"]:g}' for line in lines})),
                f'{seconds:.1f}',
                _steps(lines),
                ', '.join(sorted({line['commit'][:7] for line in lines})),
                *([_published(own, metric, train_std)] if figures else []),
            ]
        )
    return [*markdown(header, rows), '']


def _steps(lines: list[dict[str, Any]]) -> str:
    steps = [line['hyper_parameters'].get('steps') for line in lines]
    known = sorted(s for s in steps if s is not None)
    if not known:
        return ''
    text = f'{known[0]}' if known[0] == known[-1] else f'{known[0]} to {known[-1]}'
    settings = lines[0]['hyper_parameters']
    if 'epochs' not in settings:
        return text
    planned = settings['epochs'] * -(
        -lines[0]['rows']['train'] // settings['batch_size']
    )
    return f'{text} of {planned}'


def _published(figures: list[Published], metric: str, train_std: float) -> str:
    # Published absolute errors are divided by the same number as ours.
    def text(figure: Published) -> str:
        where = f'{figure.system}, {figure.source}, {figure.protocol}'
        return f'{_value(figure, metric, train_std)} ({where})'

    return '; '.join(map(text, figures))


def _value(figure: Published, metric: str, train_std: float) -> str:
    if figure.metric == metric:
        return f'{figure.value:.4f}'
    return f'{figure.value / train_std:.4f} (MAE {figure.value:g})'


def _published_table(database: str, tasks: dict[str, dict[str, Any]]) -> list[str]:
    # Systems down, tasks across: figures of others for all tasks of a database.
    figures = [p for p in PUBLISHED if p.database == database and p.task in tasks]
    if not figures:
        return []
    rows = []
    for system, source in dict.fromkeys((p.system, p.source) for p in figures):
        own = [p for p in figures if (p.system, p.source) == (system, source)]
        cells = [
            ', '.join(
                _value(p, MAIN[line['kind']], line['train_std'])
                for p in own
                if p.task == task
            )
            for task, line in tasks.items()
        ]
        rows.append([system, source, own[0].protocol, *cells])
    title = f'## {database}: published by others, test'
    header = ['system', 'source', 'protocol', *tasks]
    return [title, '', *markdown(header, rows), '']


def _all_metrics(cells: dict[tuple[str, str], Cell], protocol: str) -> list[str]:
    chosen = {key[0]: cell for key, cell in cells.items() if key[1] == protocol}
    if not chosen:
        return []
    names = list(next(iter(chosen.values())).lines[0]['metrics']['test'])
    rows = [
        [name, *(chosen[name].text('test', metric) for metric in names)]
        for name in _in_order(set(chosen))
    ]
    title = f'All metrics on test, {protocol} protocol:'
    return [title, '', *markdown(['model', *names], rows), '']


def _in_order(names: set[str]) -> list[str]:
    known = [name for name in MODELS if name in names]
    return [*known, *sorted(names - set(known))]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--out', type=Path, help='folder of report.md and plots')
    parser.add_argument('--plots', action='store_true', help='draw plots too')
    parser.add_argument('--rst', type=Path, help='also write tables for the docs')
    return parser


def main(arguments: list[str] | None = None) -> None:
    args = get_parser().parse_args(arguments)
    try:
        lines = read_lines(args.results)
    except ValueError as error:
        sys.exit(str(error))
    if not lines:
        sys.exit(f'no results in {args.results}; run benchmark/relbench/run.py first')
    text = report(lines, args.results.parent)
    print(text)
    if args.rst is not None:
        args.rst.write_text(to_rst(text))
    if args.out is None:
        return
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'report.md').write_text(text)
    if args.plots:
        from benchmark.relbench.plots import draw_plots

        for path in draw_plots(lines, args.results.parent, args.out):
            print(path)


if __name__ == '__main__':
    main()
