r"""Contexts of every task of every database of a folder, checked by SQL.

    python benchmark/audit.py ../shared/data --contexts 1000 --json audit.json

One process a database, one store for its tasks; one line a task and protocol.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data'
SUPPORTED = ('binary_classification', 'regression')


def run(folder: Path, contexts: int, seed: int, names: list[str] | None) -> list[dict]:
    from torch_geometric_rfm import RelationalPredictor
    from torch_geometric_rfm.audit import RawTables, audit_task
    from torch_geometric_rfm.data import load_database, load_dataset

    dataset = load_dataset(folder)
    predictor = RelationalPredictor(text_encoder='hashing')
    raw = RawTables(load_database(folder))
    windows = {}
    if (folder / 'tasks.json').exists():
        entries = json.loads((folder / 'tasks.json').read_text())['tasks']
        windows = {entry['name']: entry.get('label_window') for entry in entries}
    lines = []
    for name in names or dataset.get_task_names():
        kind = dataset.load_task(name).task_type.value
        if kind not in SUPPORTED:
            line = {'database': folder.name, 'task': name, 'not_supported': kind}
            lines.append(line)
            continue
        horizon = windows.get(name)
        # Builds the store, or lays the task over it, before the clock starts.
        start = time.monotonic()
        predictor.open_task(str(folder), name, horizon)
        print(f'{name}: opened in {time.monotonic() - start:.1f} s', file=sys.stderr)
        for protocol in ('rolling', 'frozen'):
            report = audit_task(
                str(folder),
                name,
                contexts,
                protocol,
                horizon=horizon,
                seed=seed,
                predictor=predictor,
                raw=raw,
            )
            lines.append(report.to_dict() | {'database': folder.name})
            print(f'{report}, {report.seconds:.1f} s', file=sys.stderr)
    return lines


def to_table(lines: list[dict], contexts: int, seed: int) -> Table:
    table = Table(title=f'audit by SQL, up to {contexts:,} contexts each, seed {seed}')
    for column in ('database', 'task', 'protocol'):
        table.add_column(column, no_wrap=True)
    for column in ('contexts', 'rows', 'cells', 'findings', 'seconds'):
        table.add_column(column, justify='right')
    for line in lines:
        names = (line['database'], line['task'])
        if 'not_supported' in line:
            why = f'not supported: {line["not_supported"]}'
            table.add_row(*names, *[''] * 4, why)
            continue
        findings = {k: n for k, n in line['findings'].items() if n}
        table.add_row(
            *names,
            line['protocol'],
            *(f'{line[key]:,}' for key in ('contexts', 'rows', 'cells')),
            ', '.join(f'{n:,} {k}' for k, n in findings.items()) or '0',
            f'{line["seconds"]:.1f}',
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('folder', type=Path, nargs='?', default=REL_F1, metavar='DATA')
    parser.add_argument('--only', nargs='+', metavar='DB', help='these databases alone')
    parser.add_argument('--tasks', nargs='+', metavar='TASK', help='these tasks alone')
    parser.add_argument('--contexts', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--quick', action='store_true', help='one database, 50 each')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        folder = args.folder / args.worker
        lines = run(folder, args.contexts, args.seed, args.tasks)
        print(json.dumps(lines))
        return
    databases = sorted(p.parent.name for p in args.folder.glob('*/manifest.yaml'))
    unknown = set(args.only or []) - set(databases)
    if unknown or not databases:
        parser.error(f'no {sorted(unknown)} in {args.folder} (databases: {databases})')
    databases = args.only or databases
    if args.quick:
        databases, args.contexts = databases[:1], 50
    lines: list[dict] = []
    for name in databases:
        command = [sys.executable, __file__, str(args.folder), '--worker', name]
        command += ['--contexts', str(args.contexts), '--seed', str(args.seed)]
        command += ['--tasks', *args.tasks] if args.tasks else []
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        lines += json.loads(done.stdout.splitlines()[-1])
        if args.json:  # After every database: a long run leaves what it has.
            args.json.write_text(json.dumps(lines, indent=2))
    Console(width=140).print(to_table(lines, args.contexts, args.seed))
    sys.exit(any(sum(line.get('findings', {}).values()) for line in lines))


if __name__ == '__main__':
    main()
