r"""Which cells should pretraining hide? Objectives compared at the same compute.

    python benchmark/masking.py examples/data/rel-f1:driver-dnf,driver-position \
        /path/to/atp-tennis:player-semifinal --num_steps 3000

Each model starts from scratch, is pretrained on the database's own rows up to the
validation cutoff (contexts around rows of its dated tables, each seen from its own
time), and is then fine-tuned on each task with 100 labels and with all. ``none`` is not
pretrained. ``target`` hides one cell of the seed row, as in completing a column;
``uniform``, ``column``, ``row`` and ``80-10-10`` hide 15 to 30 % of all cells; ``mae``
hides 50 to 75 % and fine-tunes the encoder alone, ``mae-decoder`` both parts.

Compute is matched in floating point operations: ``--num_steps`` are the steps of
``uniform``, and the others take as many as cost the same, so that figures do not depend
on the load of the machine. With ``--minutes`` in its place, all take the same time.

Every finished run is a line of the results file with its predictions beside it, and is
not run again: the same command goes on where it stopped. At the end, or alone with
``--report``, it prints tables, and writes ``--plot`` and ``--rst``.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmark.masking_objectives import (
    OBJECTIVES,
    contexts_of,
    flops_of_step,
    make_model,
    pretrain,
    pretraining_of,
    to_fine_tune,
)
from benchmark.masking_report import KEYS, draw, read_results, report
from benchmark.relbench.inputs import database_name, open_inputs
from benchmark.relbench.machine import commit, machine, versions
from benchmark.relbench.metrics import score
from benchmark.relbench.results import append_lines, save_predictions
from benchmark.relbench.rst import to_rst
from torch_geometric_rfm.data import Task, TaskStore
from torch_geometric_rfm.data.atomic_file import write_atomically
from torch_geometric_rfm.train import TrainConfig, fit, predict_rows

RESULTS = Path(__file__).parent / 'results' / 'masking.jsonl'


class Database:
    r"""A database and some of its tasks, with one store for all."""

    def __init__(self, source, tasks, text_encoder):
        self.name = database_name(source)
        self.inputs = {
            name: open_inputs(source, name, None, text_encoder) for name in tasks
        }
        first = next(iter(self.inputs.values()))
        self.store, self.cutoff = first.store.store, first.cutoff
        for name, inputs in self.inputs.items():
            if inputs.task.hidden_columns:
                hidden = ', '.join(map('.'.join, inputs.task.hidden_columns))
                sys.exit(
                    f"task '{name}' hides columns ({hidden}) that pretraining would "
                    'see; take a forecast task'
                )

    def task_store(self, name, num_labels, seed):
        r"""A task of which only so many train labels are known, all if not given."""
        task = self.inputs[name].task
        if num_labels is None:
            return self.store.with_task(task)
        frame = task.frame.copy()
        known = (frame['split'] == 'train') & frame['label'].notna()
        rows = np.flatnonzero(known.to_numpy())
        rng = np.random.default_rng((seed, num_labels))
        kept = rng.choice(rows, min(num_labels, rows.size), replace=False)
        others = np.setdiff1d(np.flatnonzero(frame['split'] == 'train'), kept)
        frame.loc[others, 'label'] = np.nan
        frame.loc[others, 'split'] = 'unlabelled'
        few = Task(**{**task.__dict__, 'frame': frame})
        few.validate()
        return self.store.with_task(few)


def budget_text(args):
    if args.minutes:
        return f'{args.minutes:g} minutes'
    return f'{args.num_steps} steps of uniform'


def settings_of(args):
    r"""What all runs of a results file share."""
    keys = ('channels', 'num_layers', 'num_cells', 'batch_size', 'text_encoder')
    return {key: getattr(args, key) for key in keys}


def check_settings(line, args):
    r"""Ends the sweep if a run stands there that was made otherwise."""
    if line['settings'] != settings_of(args):
        sys.exit(
            f'{args.out} has runs with other settings (got {settings_of(args)}, there '
            f'are {line["settings"]}); give another file by --out'
        )


def pretrained(database, objective, seed, args):
    r"""A pretrained model, from its file if it is there, and what it came to."""
    name = pretraining_of(objective)
    settings = {'channels': args.channels, 'num_layers': args.num_layers}
    model = make_model(name, seed, settings)
    if name == 'none':
        return model, {}
    path = (
        args.out.parent
        / 'masking_weights'
        / (
            f'{database.name}-{name}-{seed}-{budget_text(args).replace(" ", "_")}'
            f'-{"-".join(map(str, settings_of(args).values())).replace("/", "_")}.pt'
        )
    )
    if path.exists():
        saved = torch.load(path)
        model.load_state_dict(saved['state'])
        return model, saved['figures']
    batches = contexts_of(name, database.store, database.cutoff, args, seed)
    flops = flops_of_step(model, batches)
    num_steps = args.num_steps
    if args.minutes is None and name != 'uniform':
        plain = make_model('uniform', seed, settings)
        other = contexts_of('uniform', database.store, database.cutoff, args, seed)
        num_steps = round(args.num_steps * flops_of_step(plain, other) / flops)
    num_steps = None if args.minutes else num_steps
    figures = pretrain(model, batches, num_steps, args.minutes)
    figures['flops'] = flops * figures['steps']
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = {'state': model.state_dict(), 'figures': figures}
    write_atomically(path, lambda part: torch.save(saved, part))
    print(
        f'{database.name}, {name}, seed {seed}: {figures["steps"]} steps, '
        f'{figures["contexts_per_second"]:.0f} contexts/s, loss '
        f'{figures["first_loss"]:.3f} to {figures["last_loss"]:.3f}',
        flush=True,
    )
    return model, figures


def fine_tune(database, task, objective, seed, num_labels, args):
    r"""One run: a line of results, and its predictions."""
    model, figures = pretrained(database, objective, seed, args)
    model = to_fine_tune(objective, model)
    store: TaskStore = database.task_store(task, num_labels, seed)
    config = TrainConfig(
        minutes=None,
        num_steps=args.fine_tune_steps,
        batch_size=args.batch_size,
        max_val_rows=args.max_val_rows,
        accelerator='cpu',
        seed=seed,
    )
    start = time.perf_counter()
    result = fit(model, [store], config, show_progress=False, num_cells=args.num_cells)
    inputs = database.inputs[task]
    arrays, metrics = {}, {}
    for split in ('val', 'test'):
        rows = inputs.rows(split)[: args.max_rows]
        label = inputs.labels[rows]
        prediction = predict_rows(model, store, rows, num_cells=args.num_cells)
        prediction = prediction.astype(np.float32)
        metrics[split] = score(
            inputs.kind, label, prediction.astype(np.float64), inputs.train_std
        )
        arrays |= {f'{split}_label': label, f'{split}_rolling': prediction}
    labels = 'all' if num_labels is None else str(num_labels)
    path = f'predictions/masking/{database.name}/{task}/{objective}-{labels}-{seed}'
    path += f'-{budget_text(args).replace(" ", "_")}.npz'
    save_predictions(args.out.parent / path, arrays)
    line = {
        'database': database.name,
        'task': task,
        'objective': objective,
        'labels': labels,
        'seed': seed,
        'budget': budget_text(args),
        'fine_tune_steps': args.fine_tune_steps,
        'steps_done': result.steps,
        'kind': inputs.kind,
        'protocol': 'rolling',
        'metrics': metrics,
        'train_std': inputs.train_std,
        'train_rows': len(store.rows_of_split('train')),
        'pretraining': figures,
        'seconds': round(time.perf_counter() - start, 2),
        'settings': settings_of(args),
        'predictions': path,
        'commit': commit(),
        'versions': versions(),
        'machine': machine(),
    }
    append_lines(args.out, [line])
    name, value = next(iter(metrics['test'].items()))
    print(
        f'{database.name}, {task}, {labels} labels, {objective}, seed {seed}: '
        f'test {name} {value:.4f}',
        flush=True,
    )


def sweep(args):
    r"""All runs that are not there yet, seed by seed, so that all gain at once."""
    done = {tuple(line[k] for k in KEYS): line for line in read_results(args.out)}
    counts = [None if text == 'all' else int(text) for text in args.labels]
    for seed in args.seeds:
        for source, tasks in args.databases:
            database = None
            for objective in args.objectives:
                for task in tasks:
                    for num_labels in counts:
                        labels = 'all' if num_labels is None else str(num_labels)
                        key = (
                            database_name(source),
                            task,
                            objective,
                            labels,
                            seed,
                            budget_text(args),
                            args.fine_tune_steps,
                        )
                        if key in done:
                            check_settings(done[key], args)
                            continue
                        if database is None:
                            database = Database(source, tasks, args.text_encoder)
                        fine_tune(database, task, objective, seed, num_labels, args)


def database_and_tasks(text):
    source, _, tasks = text.rpartition(':')
    if not source or not tasks:
        raise argparse.ArgumentTypeError(
            f"must be a folder and its tasks, 'folder:task,task' (got '{text}')"
        )
    return source, tasks.split(',')


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('databases', nargs='*', type=database_and_tasks)
    parser.add_argument(
        '--objectives', nargs='+', default=list(OBJECTIVES), choices=list(OBJECTIVES)
    )
    parser.add_argument('--labels', nargs='+', default=['100', 'all'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1])
    parser.add_argument('--num_steps', type=int, default=3000)
    parser.add_argument('--minutes', type=float)
    parser.add_argument('--fine_tune_steps', type=int, default=1000)
    parser.add_argument('--batch_size', type=int, default=16)
    parser.add_argument('--num_cells', type=int, default=128)
    parser.add_argument('--channels', type=int, default=128)
    parser.add_argument('--num_layers', type=int, default=4)
    parser.add_argument('--max_val_rows', type=int, default=500)
    parser.add_argument(
        '--max_rows', type=int, help='val and test rows that are scored'
    )
    parser.add_argument('--text_encoder', default='hashing')
    parser.add_argument('--out', type=Path, default=RESULTS)
    parser.add_argument('--report', action='store_true', help='run nothing')
    parser.add_argument('--plot', type=Path)
    parser.add_argument('--rst', type=Path, help='also write the tables for the docs')
    return parser


def main(arguments=None):
    args = get_parser().parse_args(arguments)
    if not args.report:
        if not args.databases:
            sys.exit("name a database and its tasks, 'folder:task,task'")
        sweep(args)
    lines = read_results(args.out)
    if not lines:
        sys.exit(f'no results in {args.out}')
    text = report(lines, args.out.parent)
    print(text)
    if args.rst is not None:
        args.rst.write_text(to_rst(text))
    if args.plot is not None:
        draw(lines, args.out.parent, args.plot)


if __name__ == '__main__':
    main()
