r"""rel-f1 from scratch through the command line: three tasks, several seeds, both
protocols from one training.

    python benchmark/rel_f1.py --minutes 8 --seeds 0 1 2 --json rel_f1.json

Each seed is two runs of ``pyg-rfm finetune``, as val prefers them: all three tasks
jointly for driver-dnf and driver-top3, driver-position alone and in less time; then
``pyg-rfm evaluate`` a task, split and protocol.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'
TASKS = ('driver-dnf', 'driver-top3', 'driver-position')
RUNS = ((TASKS, TASKS[:2], 1.0), (TASKS[2:], TASKS[2:], 0.65))
r"""Tasks trained jointly, those that are scored, and the share of the time."""
SHOWN = (('val', 'rolling'), ('test', 'rolling'), ('test', 'frozen'))


def pyg_rfm(*args: object) -> None:
    command = [sys.executable, '-m', 'torch_geometric_rfm.cli.app', *map(str, args)]
    subprocess.run(command, check=True)


def run_seed(
    db: str,
    tasks: tuple[str, ...],
    scored: tuple[str, ...],
    seed: int,
    minutes: float,
    folder: Path,
    extra: list,
) -> list[dict]:
    run = folder / f'{tasks[0]}-{seed}'
    others = [part for task in tasks[1:] for part in ('--with', task)]
    options = ['--from-scratch', '--minutes', minutes, '--seed', seed]
    options += ['--own-labels', 0.15, *extra]
    log = folder / f'{tasks[0]}-{seed}.json'
    pyg_rfm('finetune', db, tasks[0], '--out', run, *others, *options, '--json', log)
    trained = json.loads(log.read_text())
    lines = []
    for task in scored:
        for split, protocol in SHOWN:
            path = folder / f'{task}-{seed}-{split}-{protocol}.json'
            where = ['--split', split, '--protocol', protocol]
            pyg_rfm('evaluate', db, task, '--model', run, *where, '--json', path)
            line = json.loads(path.read_text())
            line |= {'seed': seed, 'minutes': minutes, 'steps': trained['steps']}
            lines.append(line)
    return lines


def report(lines: list[dict], console: Console) -> None:
    table = Table(title='rel-f1, from scratch, mean ± standard deviation over seeds')
    for column in ('task', 'metric', 'split', 'protocol'):
        table.add_column(column)
    baselines = list(lines[0]['baselines'])
    for column in [*baselines, 'Relational Transformer', 'seeds']:
        table.add_column(column.replace('_', ' '), justify='right')
    for task in TASKS:
        for split, protocol in SHOWN:
            chosen = [
                line
                for line in lines
                if (line['task'], line['split'], line['protocol'])
                == (task, split, protocol)
            ]
            metric = next(iter(chosen[0]['metrics']))
            values = [line['metrics'][metric] for line in chosen]
            scores = chosen[0]['baselines']
            spread = np.std(values, ddof=1) if len(values) > 1 else float('nan')
            table.add_row(
                task,
                metric,
                split,
                protocol,
                *(f'{scores[b][metric]:.3f}' if b in scores else '' for b in baselines),
                f'{np.mean(values):.3f} ± {spread:.3f}',
                ' '.join(f'{value:.3f}' for value in values),
            )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--db', default=str(REL_F1))
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=int, default=1, help='runs at the same time')
    parser.add_argument('--out', type=Path, help='keep the runs in this folder')
    parser.add_argument('--quick', action='store_true', help='one seed, a few seconds')
    parser.add_argument('--json', type=Path, help='also write the figures here')
    args = parser.parse_args()
    extra: list[str] = []
    if args.quick:
        args.minutes, args.seeds = 0.05, [0]
        extra = ['--text-encoder', 'hashing', '--num-cells', '32']
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(args.jobs) as pool:
            runs = [
                pool.submit(
                    run_seed,
                    args.db,
                    tasks,
                    scored,
                    seed,
                    round(share * args.minutes, 2),
                    folder,
                    extra,
                )
                for seed in args.seeds
                for tasks, scored, share in RUNS
            ]
            lines = [line for run in runs for line in run.result()]
    report(lines, Console(width=160))
    if args.json:
        args.json.write_text(json.dumps(lines, indent=2))


if __name__ == '__main__':
    main()
