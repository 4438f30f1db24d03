r"""Do 90 % intervals hold 90 % of the labels, and probabilities what they say?

    python benchmark/calibration.py ../shared/data --json calibration.json

Models of three regression tasks have a quantile head, whose quantiles are shifted by
what holds on val (conformalized quantile regression), those of classification tasks a
temperature and a bias fitted on val; figures before that stand beside. Under the random
split labels of train rows are drawn anew into val and test, so that these are alike;
each context still sees only what was known by its time. The temporal split, where the
future may differ, stands beside it. Runs that stand in the file already are not made
again.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmark.relbench.rst import markdown, to_rst
from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.data.atomic_file import write_atomically
from torch_geometric_rfm.metrics import (
    calibration_error,
    coverage,
    perfect_calibration_error,
)

EXAMPLES = Path(__file__).parents[1] / 'examples' / 'data'
TASKS = (
    ('rel-f1', 'driver-position'),
    ('movielens-small', 'movie-mean-rating'),
    ('un-votes', 'country-us-agreement'),
    ('rel-f1', 'driver-dnf'),
    ('rel-f1', 'driver-top3'),
    ('movielens-small', 'movie-rated'),
    ('mimic-demo', 'prescriptions-route'),
)
LEVEL = 0.9


def random_split(store, seed):
    r"""The task with its train rows shared out at random, 60, 20 and 20 %."""
    task = store.task
    frame = task.frame[task.frame['split'] == 'train'].reset_index(drop=True)
    rng = np.random.default_rng(seed)
    frame['split'] = rng.choice(['train', 'val', 'test'], len(frame), p=[0.6, 0.2, 0.2])
    # RelBench would score the rows of its own splits.
    return store.store.with_task(replace(task, frame=frame, relbench_task=None))


def run(folder, task, split, minutes, max_rows, seed, text_encoder, num_cells):
    r"""Trains on one task, and measures its intervals or probabilities on test."""
    predictor = RelationalPredictor(
        text_encoder=text_encoder,
        seed=seed,
        number_head='quantile',
        num_cells=num_cells,
    )
    store = predictor.open_task(str(folder), task)
    if split == 'random':
        store = random_split(store, seed)
    predictor.fit_stores([store], show_progress=False, minutes=minutes, seed=seed)
    rows = store.rows_of_split('test')
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(rows)[:max_rows])
    label = store.task.frame['label'].to_numpy()[rows]
    out = {'database': folder.name, 'task': task, 'split': split, 'seed': seed}
    out |= {'minutes': minutes, 'rows': len(rows)}
    if store.task.cell_type == CellType.NUMBER:
        levels = [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]
        lower, upper = predictor.predict_rows(store, rows, levels=levels).T
        before, _ = coverage(label, lower, upper)
        predictor.calibrate_rows(store)
        lower, upper = predictor.predict_rows(store, rows, levels=levels).T
        share, _ = coverage(label, lower, upper)
        error = float(np.sqrt(LEVEL * (1 - LEVEL) / len(rows)))
        passed = abs(share - LEVEL) <= 3 * error
        figures = {'coverage_before': before, 'coverage': share}
        return out | figures | {'standard_error': error, 'passed': passed}
    before = predictor.predict_rows(store, rows)
    calibration = predictor.calibrate_rows(store)
    after = predictor.predict_rows(store, rows)
    limit = perfect_calibration_error(after)
    figures = {
        'temperature': calibration.temperature,
        'error_before': calibration_error(before, label),
        'error': calibration_error(after, label),
        'limit': limit,
    }
    return out | figures | {'passed': figures['error'] <= limit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('data', type=Path, nargs='?', default=EXAMPLES)
    parser.add_argument('--minutes', type=float, default=5.0)
    parser.add_argument('--max-rows', type=int, default=4000)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--num-cells', type=int, default=128)
    parser.add_argument('--text-encoder', default='minilm')
    parser.add_argument('--tasks', nargs='+', choices=[task for _, task in TASKS])
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--rst', type=Path, help='also write the table for the docs')
    args = parser.parse_args()
    if args.quick:
        args.minutes, args.max_rows = 0.1, 200
        args.num_cells, args.text_encoder = 32, 'hashing'
    done = []
    if args.json and args.json.exists():
        done = json.loads(args.json.read_text())
    console = Console(width=120)
    for name, task in TASKS:
        if args.tasks is not None and task not in args.tasks:
            continue
        folder = args.data / name
        if not folder.exists():
            console.print(f'{folder} is not there; {task} is left out')
            continue
        for split in ('random', 'temporal'):
            for seed in args.seeds:
                key = {'database': name, 'task': task, 'split': split, 'seed': seed}
                key['minutes'] = args.minutes
                if any(key.items() <= line.items() for line in done):
                    continue
                options = (args.text_encoder, args.num_cells)
                line = run(
                    folder, task, split, args.minutes, args.max_rows, seed, *options
                )
                done.append(line)
                console.print(line)
                if args.json:
                    text = json.dumps(done, indent=2)
                    write_atomically(
                        args.json, lambda part, text=text: Path(part).write_text(text)
                    )
    header = ['task', 'split', 'seed', 'rows', 'before', 'after', 'expected', 'passed']
    rows = []
    for line in done:
        before = line.get('coverage_before', line.get('error_before'))
        after = line.get('coverage', line.get('error'))
        if 'coverage' in line:
            expected = f'{LEVEL:.3f} ± {3 * line["standard_error"]:.3f}'
        else:
            expected = f'at most {line["limit"]:.3f}'
        names = [str(line[key]) for key in ('task', 'split', 'seed', 'rows')]
        passed = 'yes' if line['passed'] else 'no'
        rows.append([*names, f'{before:.3f}', f'{after:.3f}', expected, passed])
    title = f'coverage of {LEVEL:.0%} intervals, and calibration errors'
    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if args.rst is not None:
        args.rst.write_text(to_rst('\n'.join(markdown(header, rows))))


if __name__ == '__main__':
    main()
