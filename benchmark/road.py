r"""The whole road on every database of a folder: inspect, store, train, evaluate.

    python benchmark/road.py ../shared/data --json road.json

One process and one line a database: seconds of each part and peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data'
PARTS = ('inspect', 'store', 'train', 'evaluate')


def run(folder: Path, contexts: int, text_encoder: str | None) -> dict:
    from torch_geometric_rfm import RelationalPredictor
    from torch_geometric_rfm.data.summary import summarize_database
    from torch_geometric_rfm.metrics import evaluate_baselines

    seconds, start = {}, time.monotonic()

    def done(part: str) -> None:
        nonlocal start
        seconds[part] = round(time.monotonic() - start, 1)
        start = time.monotonic()

    summary = summarize_database(str(folder))
    done('inspect')
    usable = [
        task
        for task in summary['tasks']
        if task.get('type') in ('binary_classification', 'regression')
    ]
    task = min(usable, key=lambda task: sum(task['rows'].values()))
    horizon = None
    for entry in json.loads((folder / 'tasks.json').read_text())['tasks']:
        if entry['name'] == task['name']:
            horizon = entry.get('label_window')
    predictor = RelationalPredictor(text_encoder=text_encoder)
    store = predictor.open_task(str(folder), task['name'], horizon)
    done('store')
    result = predictor.fit_stores(
        [store],
        minutes=None,
        num_steps=-(-contexts // 32),
        num_evals=1,
        max_val_rows=64,
        show_progress=False,
    )
    done('train')
    metrics = {}
    for protocol in ('rolling', 'frozen'):
        prediction = predictor.predict_rows(store, 'test', protocol)
        metrics[protocol] = store.task.evaluate(prediction, 'test')
    evaluate_baselines(store, 'test', 'rolling')
    done('evaluate')
    return {
        'database': folder.name,
        'rows': store.store.num_rows,
        'task': task['name'],
        'num_rows': len(prediction),
        'metrics': metrics,
        'seconds': seconds,
        'contexts_per_second': round(result.contexts_per_second, 1),
        'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('folder', type=Path, nargs='?', default=REL_F1)
    parser.add_argument('--only', help='run this database in this process')
    parser.add_argument('--contexts', type=int, default=200)
    parser.add_argument('--text-encoder', default=None)
    parser.add_argument('--quick', action='store_true', help='the first database only')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    if args.quick:
        args.text_encoder = 'hashing'
    if args.only:
        print(
            json.dumps(run(args.folder / args.only, args.contexts, args.text_encoder))
        )
        return
    databases = sorted(p.parent.name for p in args.folder.glob('*/manifest.yaml'))
    lines = []
    for name in databases[:1] if args.quick else databases:
        command = [sys.executable, __file__, str(args.folder), '--only', name]
        command += ['--contexts', str(args.contexts)]
        if args.text_encoder:
            command += ['--text-encoder', args.text_encoder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(lines[-1], file=sys.stderr)
    table = Table(title='seconds and peak memory of the whole road')
    for column in ('database', 'rows', 'task', 'test rows', *PARTS, 'peak MB'):
        table.add_column(column, justify='right')
    for line in lines:
        table.add_row(
            line['database'],
            f'{line["rows"]:,}',
            line['task'],
            f'{line["num_rows"]:,}',
            *(f'{line["seconds"][part]:.1f}' for part in PARTS),
            f'{line["peak_mb"]:,}',
        )
    Console(width=140).print(table)
    if args.json:
        args.json.write_text(json.dumps(lines, indent=2))


if __name__ == '__main__':
    main()
