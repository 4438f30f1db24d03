r"""Trains models on a task once a seed and scores val and test under both protocols.

    python benchmark/relbench/run.py --db examples/data/rel-f1 --task driver-dnf \
        --model lightgbm-relational --seeds 0 1 2

Each run appends a line a protocol to a results file and its predictions beside it. A
run that stands there is not run again, so that an interrupted sweep goes on; a run that
crashes leaves no line. ``--model all`` takes every model that can do the task.
"""

import argparse
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmark.relbench.inputs import (
    PROTOCOLS,
    SCORED,
    Inputs,
    database_name,
    kind_of_task,
    open_inputs,
)
from benchmark.relbench.leaks import LeakError, check_leaks
from benchmark.relbench.machine import (
    commit,
    machine,
    peak_megabytes,
    reset_peak_memory,
    versions,
)
from benchmark.relbench.metrics import score
from benchmark.relbench.models import MODELS, make_model
from benchmark.relbench.models.ensemble import Ensemble
from benchmark.relbench.results import (
    append_lines,
    read_lines,
    save_entities,
    save_predictions,
)

KEPT = {'multiclass_classification': np.float16, 'recommendation': np.int32}
RESULTS = Path(__file__).parent / 'results' / 'lines.jsonl'


def run(inputs: Inputs, name: str, seed: int, minutes: float, results: Path) -> None:
    r"""Trains a model, scores it, and writes lines and predictions."""
    reset_peak_memory()
    inputs = inputs.fresh()
    model = make_model(name, inputs.kind, inputs.task.name)
    labels = {split: inputs.truth(split) for split in SCORED}
    head = commit()
    start = time.perf_counter()
    model.fit(inputs, seed, minutes)
    fit_seconds = model.fit_seconds or time.perf_counter() - start
    kept = KEPT.get(inputs.kind, np.float32)
    arrays = {f'{split}_label': label for split, label in labels.items()}
    lines = []
    path = f'predictions/{inputs.database}/{inputs.task.name}/{name}-{seed}.npz'
    for protocol in PROTOCOLS:
        start = time.perf_counter()
        metrics = {}
        for split in SCORED:
            # Scored as they are kept.
            prediction = model.predict(inputs, split, protocol).astype(kept)
            arrays[f'{split}_{protocol}'] = prediction
            metrics[split] = score(
                inputs.kind,
                labels[split],
                prediction.astype(np.float64),
                inputs.train_std,
            )
        predict_seconds = time.perf_counter() - start
        lines.append(
            {
                'database': inputs.database,
                'task': inputs.task.name,
                'model': name,
                'protocol': protocol,
                'seed': seed,
                'metrics': metrics,
                'kind': inputs.kind,
                'deterministic': model.deterministic,
                'rows': {
                    split: len(inputs.rows(split)) for split in ('train', *SCORED)
                },
                'train_std': inputs.train_std,
                'minutes': model.fit_minutes or minutes,
                'seconds': {
                    'fit': round(fit_seconds, 3),
                    'predict': round(predict_seconds, 3),
                },
                'peak_megabytes': model.fit_megabytes or peak_megabytes(),
                'parameters': model.num_parameters,
                'hyper_parameters': model.settings,
                'versions': versions(),
                'commit': head,
                'machine': machine(),
                'predictions': path,
            }
        )
        figures = ', '.join(
            f'{split} {metric} {value:.4f}'
            for split in SCORED
            for metric, value in list(metrics[split].items())[:1]
        )
        print(f'{inputs.task.name}, {name}, seed {seed}, {protocol}: {figures}')
    save_predictions(results.parent / path, arrays)
    entity = inputs.task.frame['entity'].to_numpy()
    entities = {split: entity[inputs.rows(split)] for split in SCORED}
    save_entities((results.parent / path).parent, entities)
    append_lines(results, lines)


def sweep(args: argparse.Namespace) -> int:
    r"""All runs that are not there yet; returns how many crashed."""
    done: dict[tuple, list[dict[str, Any]]] = {}
    for line in read_lines(args.out):
        key = (line['database'], line['task'], line['model'])
        done.setdefault((*key, line['seed']), []).append(line)
        if line['deterministic']:
            done.setdefault(key, []).append(line)
    plan = [(task, *models_of(args, task)) for task in dict.fromkeys(args.task)]
    crashed = 0
    for task, kind, names in plan:
        inputs = None
        for name in names:
            model = make_model(name, kind, task)
            is_fixed = model.deterministic
            for seed in args.seeds[:1] if is_fixed else dict.fromkeys(args.seeds):
                key = (database_name(args.db), task, name)
                lines = done.get(key if is_fixed else (*key, seed), [])
                lines = [line for line in lines if model.is_current(line)]
                if len(lines) >= len(PROTOCOLS) and not args.check_leaks:
                    print(
                        f'{task}, {name}, seed {seed}: stands in {args.out} '
                        f'({lines[0]["minutes"]:g} minutes), not run again'
                    )
                    continue
                if inputs is None:
                    inputs = open_inputs(
                        args.db,
                        task,
                        args.horizon,
                        args.text_encoder,
                        args.out.parent / 'models',
                        args.out,
                    )
                reason = model.reason_against(inputs)
                if reason is not None:
                    print(f'{task}, {name}: not run, as {reason}')
                    break
                try:
                    if args.check_leaks:
                        check(inputs, name, seed, args.minutes)
                    else:
                        run(inputs, name, seed, args.minutes, args.out)
                except Exception as error:  # noqa: BLE001
                    # The sweep goes on without a line of this run.
                    if not isinstance(error, LeakError):
                        traceback.print_exc()
                    print(f'{task}, {name}, seed {seed}: {error}', file=sys.stderr)
                    crashed += 1
    return crashed


def check(inputs: Inputs, name: str, seed: int, minutes: float) -> None:
    r"""Fits a model and looks whether it knows the future."""
    inputs = inputs.fresh()
    model = make_model(name, inputs.kind, inputs.task.name)
    model.without_draws()
    model.fit(inputs, seed, minutes)
    count = check_leaks(model, inputs, seed=seed)
    print(f'{inputs.task.name}, {name}: {count} rows know nothing of the future')


def models_of(args: argparse.Namespace, task: str) -> tuple[str, list[str]]:
    r"""The type of a task and the models to run on it."""
    kind = kind_of_task(args.db, task)
    if args.model != ['all']:
        for name in args.model:
            make_model(name, kind, task)
        return kind, args.model
    names = [name for name, make in MODELS.items() if kind in make().kinds]
    if args.check_leaks:  # Ensembles are predictions that stand.
        names = [name for name in names if not isinstance(MODELS[name](), Ensemble)]
    unable = [name for name, make in MODELS.items() if kind not in make().kinds]
    if unable:
        print(f'{task} is of type {kind}, which these cannot do: {", ".join(unable)}')
    return kind, names


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--db', required=True, help='a RelBench folder or Hub id')
    parser.add_argument('--task', required=True, nargs='+')
    parser.add_argument(
        '--model', required=True, nargs='+', help=f'all, or of {", ".join(MODELS)}'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--minutes', type=float, default=10.0, help='of training, a run'
    )
    parser.add_argument('--horizon', help='when labels of an external task are known')
    parser.add_argument(
        '--text-encoder', default='hashing', help='of the Relational Transformer'
    )
    parser.add_argument(
        '--check-leaks',
        action='store_true',
        help='run nothing; take the future away and compare predictions and features',
    )
    parser.add_argument('--out', type=Path, default=RESULTS, help='the results file')
    return parser


def main(arguments: list[str] | None = None) -> None:
    args = get_parser().parse_args(arguments)
    if args.minutes <= 0:
        sys.exit(f'--minutes must be positive (got {args.minutes:g})')
    try:
        crashed = sweep(args)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    if crashed:
        sys.exit(f'{crashed} runs did not end well and have no line')


if __name__ == '__main__':
    main()
