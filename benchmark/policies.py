r"""Which shares of labels serve best, on validation, over several databases.

    python benchmark/policies.py ../shared/data --json policies.json

Every setting trains a small model from scratch for the same number of steps on every
task, and is scored on val alone: AUROC, or 1 - NMAE. Runs of one cell differ between
seeds by as much as .03, so only the means over all tasks say something.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

EXAMPLES = Path(__file__).parents[1] / 'examples' / 'data'
TASKS = (
    ('rel-f1', 'driver-position'),
    ('quantum-stackexchange', 'user-engagement'),
    ('un-votes', 'country-us-agreement'),
    ('movielens-small', 'movie-rated'),
)
SETTINGS = {
    'rows alone': (0.0, 0.0, 0.0, 0.0),
    'own .15': (0.15, 0.0, 0.0, 0.0),
    'own .3': (0.3, 0.0, 0.0, 0.0),
    'own .15, recent .1': (0.15, 0.1, 0.0, 0.0),
    'own .15, random .1': (0.15, 0.0, 0.1, 0.0),
    'own .3, history .3': (0.3, 0.0, 0.0, 0.3),
}


def run_task(folder, task, settings, seeds, num_steps, num_cells, text_encoder):
    r"""Val scores of a task by setting and seed."""
    import torch

    from torch_geometric_rfm import RelationalPredictor

    torch.set_num_threads(1)
    opened, out = None, {}
    for name, (own, recent, random, history) in settings.items():
        for seed in seeds:
            predictor = RelationalPredictor(
                text_encoder=text_encoder,
                seed=seed,
                num_cells=num_cells,
                own_labels=own,
                recent_labels=recent,
                random_labels=random,
                history=history,
            )
            if opened is None:
                opened = predictor.open_task(str(folder), task)
            result = predictor.fit_stores(
                [opened],
                show_progress=False,
                num_steps=num_steps,
                minutes=None,
                num_evals=4,
                max_val_rows=600,
                seed=seed,
            )
            (metrics,) = result.metrics.values()
            metric, value = next(iter(metrics.items()))
            score = value if metric == 'roc_auc' else 1 - value
            out.setdefault(name, []).append(score)
            print(f'{folder.name} {task}, {name}: {score:.4f}', file=sys.stderr)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('data', type=Path, nargs='?', default=EXAMPLES)
    parser.add_argument('--steps', type=int, default=250)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--num-cells', type=int, default=128)
    parser.add_argument('--text-encoder', default='minilm')
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    settings, tasks = SETTINGS, TASKS
    if args.quick:
        settings = {name: SETTINGS[name] for name in ('rows alone', 'own .15')}
        args.steps, args.num_cells, args.text_encoder = 5, 32, 'hashing'
    tasks = [(args.data / db, task) for db, task in tasks if (args.data / db).exists()]
    arguments = (args.seeds, args.steps, args.num_cells, args.text_encoder)
    with ProcessPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(run_task, *task, settings, *arguments) for task in tasks]
        scores = [run.result() for run in runs]
    table = Table(title='val score (AUROC, or 1 - NMAE), mean over seeds')
    for column in ('policies', *(f'{db.name} {task}' for db, task in tasks), 'mean'):
        table.add_column(column, justify='right')
    for name in settings:
        row = [float(np.mean(score[name])) for score in scores]
        table.add_row(name, *(f'{x:.3f}' for x in row), f'{np.mean(row):.4f}')
    Console(width=140).print(table)
    if args.json:
        lines = [
            {'database': db.name, 'task': task, 'scores': score}
            for (db, task), score in zip(tasks, scores)
        ]
        args.json.write_text(json.dumps(lines, indent=2))


if __name__ == '__main__':
    main()
