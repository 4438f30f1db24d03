r"""Every head on a synthetic database whose best possible predictions are known.

    python benchmark/heads.py --steps 2000 --json heads.json --rst heads.txt

A score is the absolute error of numbers, the log loss of booleans, the accuracy of
classes, the mean average precision of links, on the test split; beside it stands that
of the best possible predictions there, and by how much it is worse. Of classes that
training never met, one line is of the choice among them, the other of that among all;
where it says so, of a model that copies what its context shows. Runs that stand in the
file already are not made again.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmark.relbench.rst import markdown, to_rst
from torch_geometric_rfm.data import CellType, LinkTask
from torch_geometric_rfm.data.atomic_file import write_atomically
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing.known_answer import known_answer
from torch_geometric_rfm.train import (
    TrainConfig,
    fit,
    fit_links,
    predict_links,
    predict_rows,
)
from torch_geometric_rfm.train.recommend import new_recommender

RUNS = [
    *(('parent', head, False) for head in ('value', 'quantile', 'bins')),
    *(('mean', head, False) for head in ('value', 'quantile', 'bins')),
    *(('last', head, False) for head in ('value', 'quantile', 'bins')),
    ('flag', 'value', False),
    ('majority', 'value', False),
    ('phrase', 'value', False),
    ('phrase', 'value', True),
    ('link', 'value', False),
]
SAMPLING = {'num_cells': 24, 'num_neighbors': 8, 'own_labels': 0.0}


def run(name, head, copies, num_steps, num_rows, seed):
    r"""Trains a small model on one task, and scores it on test."""
    start = time.monotonic()
    answer = known_answer(name, num_rows, seed)
    torch.manual_seed(seed)
    model = RelationalTransformer.small(
        channels=64,
        heads=2,
        ff_channels=128,
        text_channels=answer.store.store.text_channels,
        number_head=head,
        copy_attention=('text',) if copies else (),
    )
    config = TrainConfig(
        minutes=None,
        num_steps=num_steps,
        batch_size=64,
        lr=1.5e-3,
        num_evals=8,
        patience=8,
        seed=seed,
    )
    first_class = {}
    if name == 'link':
        recommender = new_recommender(model, answer.store)
        fit_links(recommender, answer.store, config, show_progress=False, **SAMPLING)
        rows = answer.store.rows_of_split('test')
        prediction, _ = predict_links(recommender, answer.store, rows, **SAMPLING)
    else:
        fit(model, [answer.store], config, show_progress=False, **SAMPLING)
        if name == 'phrase':
            first_class = {'phrase, unseen classes': len(answer.store.task.classes)}
            answer = answer.wider  # Its test classes were never met in training.
        prediction = predict_rows(model, answer.store, 'test', **SAMPLING)
    seconds = round(time.monotonic() - start, 1)
    lines = []
    for shown, first in {name: 0, **first_class}.items():
        score, best = answer.scores(prediction, first_class=first)
        line = {'task': name, 'head': head, 'seed': seed, 'steps': num_steps}
        line |= {'copies': copies, 'rows': num_rows}
        line['shown'] = f'{shown}, copying' if copies else shown
        line |= {'score': score, 'best': best}
        line |= {'gap': _gap(answer, score, best), 'seconds': seconds}
        lines.append(line)
    return lines


def _gap(answer, score, best):
    # By how much a score is worse than the best one; more is better of some.
    cell_type = answer.store.task.cell_type
    is_link = isinstance(answer.store.task, LinkTask)
    more = is_link or cell_type == CellType.CATEGORY
    return (best - score if more else score - best) / max(best, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--steps', type=int, default=3000)
    parser.add_argument('--rows', type=int, default=20_000)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--tasks', nargs='+', choices=sorted({name for name, *_ in RUNS})
    )
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--rst', type=Path, help='also write the table for the docs')
    args = parser.parse_args()
    if args.quick:
        args.steps, args.rows = 5, 200
    done = []
    if args.json and args.json.exists():
        done = [{'copies': False} | x for x in json.loads(args.json.read_text())]
    console = Console(width=100)
    for seed in args.seeds:
        for name, head, copies in RUNS:
            if args.tasks is not None and name not in args.tasks:
                continue
            key = {'task': name, 'head': head, 'seed': seed, 'steps': args.steps}
            key |= {'copies': copies, 'rows': args.rows}
            if any(key.items() <= line.items() for line in done):
                continue
            lines = run(name, head, copies, args.steps, args.rows, seed)
            console.print(*lines)
            done += lines
            if args.json:
                text = json.dumps(done, indent=2)
                write_atomically(
                    args.json, lambda part, text=text: Path(part).write_text(text)
                )
    header = ['task', 'head', 'seed', 'score', 'best', 'worse by', 'seconds']
    rows = []
    for line in done:
        figures = (f'{line["score"]:.4f}', f'{line["best"]:.4f}', f'{line["gap"]:.1%}')
        names = (line['shown'], line['head'], str(line['seed']))
        rows.append([*names, *figures, str(line['seconds'])])
    table = Table(*header, title='score on test, and that of the best predictions')
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if args.rst is not None:
        # Without seconds, which depend on what else runs.
        lines = markdown(header[:-1], [row[:-1] for row in rows])
        args.rst.write_text(to_rst('\n'.join(lines)))


if __name__ == '__main__':
    main()
