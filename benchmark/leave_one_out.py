r"""Pretrains without a database, then asks for that database.

    python benchmark/leave_one_out.py DB... --leave-out rel-f1 --minutes 30 \
        --out runs/leave_one_out

For each database left out: a model is pretrained on the others (resumed if it was
killed), then scored on all tasks of the database,

- zero-shot, under both protocols, beside the baselines on the same rows,
- after continued pretraining on the database without its labels,
- fine-tuned at 100, 1,000 and all train labels, beside the same model from scratch,
  both with FINE_TUNING, with the val score after every few steps of both.

Every figure is a line of results.jsonl; what stands there is not computed again. With
--own-tasks DATA the tasks that are asked for are those of the RelBench folders in DATA,
not those that prepared folders hold beside them. With --together one model is trained
without all that are left out. Several --config, with --minutes or --steps of each, are
stages of pretraining, each of which starts from the one before. --fit-steps 0 leaves
out fine-tuning. With --shrink F, what is not fine-tuned is asked with this share of
what it learned of booleans beside what it copies.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import PreparedDatabase, TaskStore, get_text_encoder
from torch_geometric_rfm.metrics import evaluate_baselines
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import PretrainConfig, pretrain
from torch_geometric_rfm.train.evaluation import draw_rows, score_rows
from torch_geometric_rfm.train.mixture import open_databases
from torch_geometric_rfm.train.train_config import FINE_TUNING

PROTOCOLS, SPLITS = ('rolling', 'frozen'), ('val', 'test')
KEYS = ('database', 'task', 'way', 'labels', 'protocol', 'split', 'seed')


class Results:
    r"""Lines of figures, each written once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        if lines and not _is_json(lines[-1]):  # Killed while it was written.
            lines.pop()
            path.write_text(''.join(f'{line}\n' for line in lines))
        self.lines = [json.loads(line) for line in lines]
        self.done = {tuple(line[key] for key in KEYS) for line in self.lines}

    def has(self, **key: Any) -> bool:
        r"""Whether there is a line of all these."""
        return any(all(line[k] == v for k, v in key.items()) for line in self.lines)

    def add(self, **line: Any) -> None:
        r"""Adds a line, unless there is one of the same keys."""
        if tuple(line[key] for key in KEYS) in self.done:
            return
        self.lines.append(line)
        self.done.add(tuple(line[key] for key in KEYS))
        with self.path.open('a') as file:
            file.write(json.dumps(line) + '\n')
        print(json.dumps(line), flush=True)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def few_labels(store: TaskStore, count: int, seed: int) -> TaskStore:
    r"""The task with so many labelled train rows, drawn by the seed; the labels of the
    others are unknown, as past labels in contexts too.
    """
    rows = draw_rows(store, 'train', count, seed)
    frame = store.task.frame.copy()
    drop = np.setdiff1d(store.rows_of_split('train'), rows)
    frame = frame.drop(index=frame.index[drop]).reset_index(drop=True)
    return store.store.with_task(replace(store.task, frame=frame))


def score(
    results: Results,
    predictor: RelationalPredictor,
    store: TaskStore,
    max_rows: int,
    with_baselines: bool = False,
    shrink: float = 1.0,
    **key: Any,
) -> None:
    r"""Scores a predictor under both protocols on val and test."""
    for protocol in PROTOCOLS:
        for split in SPLITS:
            where = {'protocol': protocol, 'split': split, **key}
            if results.has(**where):
                continue
            start = time.monotonic()
            rows = draw_rows(store, split, max_rows, 0)
            metrics = score_rows(
                predictor.model, store, rows, protocol, **predictor.sampling
            )
            seconds = round(time.monotonic() - start, 1)
            line = {'metrics': metrics, 'rows': len(rows), 'seconds': seconds}
            if key['way'] in ('zero-shot', 'continued'):
                line['shrink'] = shrink
            line['train_rows'] = len(store.rows_of_split('train'))
            if with_baselines:
                line['baselines'] = evaluate_baselines(store, split, protocol, rows)
            results.add(**where, **line)


def fine_tune(
    results: Results, store: TaskStore, args: Any, start: Path | None, **key: Any
) -> None:
    r"""Trains on one task from a checkpoint or from scratch, and scores it."""
    way = 'scratch' if start is None else 'fine-tuned'
    if all(
        results.has(way=way, protocol=p, split=s, **key)
        for p in PROTOCOLS
        for s in SPLITS
    ):
        return
    predictor = fresh(args) if start is None else load(start, 1.0)
    result = predictor.fit_stores(
        [store],
        minutes=None,
        num_steps=args.fit_steps,
        num_evals=args.fit_evals,
        patience=args.fit_evals,
        max_val_rows=500,
        seed=args.seed,
        show_progress=False,
        **FINE_TUNING,
    )
    results.add(
        way=f'{way} curve',
        protocol='rolling',
        split='val',
        metrics=result.metrics,
        curve=result.history,
        **key,
    )
    score(results, predictor, store, args.max_rows, way=way, **key)


def fresh(args: Any) -> RelationalPredictor:
    r"""A new model of the shape that is pretrained."""
    import torch

    torch.manual_seed(args.seed)
    model = RelationalTransformer.small(**args.config.model)
    sampling = {'num_cells': max(args.config.num_cells), 'history': 0.0}
    sampling |= args.config.sampling
    return RelationalPredictor(model, args.text_encoder, **sampling)


def load(folder: Path, shrink: float) -> RelationalPredictor:
    r"""A model that was pretrained, with a part of what it learned of booleans."""
    predictor = RelationalPredictor.from_pretrained(folder)
    if shrink != 1:
        predictor.model.decoder.shrink(shrink)
    return predictor


def stages_of(
    paths: list[Path],
    minutes: list[float] | None,
    steps: list[int] | None,
    seed: int,
) -> list[PretrainConfig]:
    r"""How to pretrain, one stage after the other."""
    count = max(1, len(paths))
    for name, given in (('--minutes', minutes), ('--steps', steps)):
        if given and len(given) != count:
            raise ValueError(f'{name} must be given for {count} stages (got {given})')
    stages = []
    for number in range(count):
        changes: dict[str, Any] = {'seed': seed}
        if minutes:
            changes['minutes'] = minutes[number]
        if steps:
            changes['num_steps'] = steps[number]
        path = paths[number] if paths else None
        stages.append(
            PretrainConfig(**changes)
            if path is None
            else PretrainConfig.from_file(path, **changes)
        )
        if stages[-1].minutes is None and stages[-1].num_steps is None:
            raise ValueError('--minutes or --steps must be given')
        if number and stages[-1].model:
            raise ValueError(
                f"'{path}' is a later stage, which keeps the shape: leave out 'model' "
                f'(got {stages[-1].model})'
            )
    return stages


def _weights(
    left_out: list[PreparedDatabase],
    others: list[PreparedDatabase],
    weights: dict[str, float],
) -> dict[str, float]:
    # Without the patterns that name nothing but what is left out.
    def fits(pattern: str, databases: list[PreparedDatabase]) -> bool:
        names = [database.name for database in databases]
        names += [f'{d.name}/{task.name}' for d in databases for task in d.tasks]
        return any(fnmatchcase(name, pattern) for name in names)

    return {
        pattern: weight
        for pattern, weight in weights.items()
        if not fits(pattern, left_out) or fits(pattern, others)
    }


def _unlabelled_masking(masking: dict[str, float]) -> dict[str, float]:
    # Without labels there is no target to hide alone.
    return {k: v for k, v in masking.items() if k != 'target'} or {'uniform': 1.0}


def pretrain_whole(
    databases: list[PreparedDatabase],
    out: Path,
    config: PretrainConfig,
    text_encoder: Any,
    **options: Any,
) -> None:
    r"""Pretrains, or goes on with it; what is interrupted is not built upon."""
    result = pretrain(
        databases,
        out,
        config,
        text_encoder=text_encoder,
        resume=True,
        show_progress=False,
        **options,
    )
    if result.interrupted:
        sys.exit(f"pretraining in '{out}' was interrupted; the same call goes on")


def leave_out(
    databases: list[PreparedDatabase], others: list[PreparedDatabase], args: Any
) -> None:
    r"""All figures of databases that one model is pretrained without."""
    results = Results(args.out / 'results.jsonl')
    for line in results.lines:
        if line.get('shrink', args.shrink) != args.shrink:
            raise ValueError(
                f"'{results.path}' has figures with --shrink {line['shrink']:g} (got "
                f'{args.shrink:g}); take another --out'
            )
    names = [database.name for database in databases]
    folder = args.out / f'without-{"-".join(names)}'
    if args.own_tasks is not None:
        databases = open_databases([args.own_tasks / n for n in names], args.encoder)
    init = None
    for number, stage in enumerate(args.stages, start=1):
        last = number == len(args.stages)
        out = folder if last else folder.with_name(f'{folder.name}-stage-{number}')
        pretrain_whole(
            [*others, *databases],
            out,
            replace(stage, weights=_weights(databases, others, stage.weights)),
            args.encoder,
            exclude=names,
            init=init,
        )
        init = out
    for database in databases:
        ask(database, folder, results, args)


def ask(database: PreparedDatabase, folder: Path, results: Results, args: Any) -> None:
    r"""All figures of a database that a model has not seen."""
    stores = database.task_stores()
    key = {'database': database.name, 'seed': args.seed}
    for store in stores:
        score(
            results,
            load(folder, args.shrink),
            store,
            args.max_rows,
            with_baselines=True,
            shrink=args.shrink,
            task=store.task.name,
            way='zero-shot',
            labels=0,
            **key,
        )
    if args.continued_steps > 0:
        continued = args.out / f'continued-{database.name}'
        config = replace(
            args.config,
            minutes=None,
            num_steps=args.continued_steps,
            model={},
            weights={},
            masking=_unlabelled_masking(args.config.masking),
            unlabelled=[database.name],
            lr=args.continued_lr,
            num_evals=0,
            drop_rate=0.0,
            episode_steps=0,
        )
        pretrain_whole([database], continued, config, args.encoder, init=folder)
        for store in stores:
            score(
                results,
                load(continued, args.shrink),
                store,
                args.max_rows,
                shrink=args.shrink,
                task=store.task.name,
                way='continued',
                labels=0,
                **key,
            )
    for store in stores if args.fit_steps else []:
        total = len(store.rows_of_split('train'))
        for count in sorted({min(n, total) for n in [*args.labels, total]}):
            task = few_labels(store, count, args.seed) if count < total else store
            for start in (folder, None):
                fine_tune(
                    results,
                    task,
                    args,
                    start,
                    task=store.task.name,
                    labels=count,
                    **key,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('databases', nargs='+', help='RelBench folders, or prepared')
    parser.add_argument('--leave-out', nargs='*', help='names; all if not given')
    parser.add_argument('--together', action='store_true')
    parser.add_argument('--own-tasks', type=Path, metavar='DATA')
    parser.add_argument('--out', type=Path, default=Path('runs/leave_one_out'))
    parser.add_argument(
        '--config', type=Path, nargs='+', help='PretrainConfig, a stage'
    )
    parser.add_argument('--minutes', type=float, nargs='+', help='of each stage')
    parser.add_argument('--steps', type=int, nargs='+', help='of each stage')
    parser.add_argument('--continued-steps', type=int, default=200)
    parser.add_argument('--labels', type=int, nargs='*', default=[100, 1000])
    parser.add_argument('--fit-steps', type=int, default=500)
    parser.add_argument('--fit-evals', type=int, default=10)
    parser.add_argument('--continued-lr', type=float, default=5e-4)
    parser.add_argument('--shrink', type=float, default=1.0, metavar='F')
    parser.add_argument('--max-rows', type=int, default=10**9, help='scored rows')
    parser.add_argument('--text-encoder', default='hashing')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    try:
        args.stages = stages_of(args.config or [], args.minutes, args.steps, args.seed)
    except ValueError as error:
        parser.error(str(error))
    args.config = args.stages[0]
    args.out.mkdir(parents=True, exist_ok=True)
    args.encoder = get_text_encoder(args.text_encoder)
    databases = open_databases(args.databases, args.encoder)
    names = args.leave_out or [database.name for database in databases]
    left_out = [database for database in databases if database.name in names]
    for group in [left_out] if args.together else [[one] for one in left_out]:
        inside = {database.name for database in group}
        leave_out(group, [d for d in databases if d.name not in inside], args)


if __name__ == '__main__':
    main()
