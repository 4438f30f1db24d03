r"""The lines of leave_one_out.py as a table, and its learning curves as a picture.

    python benchmark/leave_one_out_report.py runs/leave_one_out/results.jsonl \
        --rst docs/leave_one_out.txt --plot docs/_static/leave_one_out.png
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmark.relbench.rst import markdown, to_rst

NUMBER = {'roc_auc': 1, 'nmae': -1, 'accuracy': 1}
SIMPLE = (
    'global_mean',
    'global_median',
    'class_frequency',
    'entity_mean',
    'entity_class_frequency',
)


class Figures:
    r"""Scores of a split and a protocol by task and way."""

    def __init__(
        self,
        lines: list[dict[str, Any]],
        split: str = 'test',
        protocol: str = 'rolling',
    ) -> None:
        self.tasks: dict[tuple[str, str], dict[tuple[str, int], dict]] = {}
        self.baselines: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
        self.most: dict[tuple[str, str], int] = {}
        self.curves: dict[tuple[str, str], dict[tuple[str, int], list]] = {}
        for line in lines:
            key = line['database'], line['task']
            way = line['way'], line['labels']
            if 'curve' in line:
                self.curves.setdefault(key, {})[way] = line['curve']
            elif (line['split'], line['protocol']) == (split, protocol):
                self.tasks.setdefault(key, {})[way] = line['metrics']
                if line['way'] == 'zero-shot':
                    self.most[key] = line['train_rows']
                if 'baselines' in line:
                    self.baselines[key] = line['baselines']

    def metric(self, key: tuple[str, str]) -> str:
        r"""The metric that a task is compared by."""
        return next(iter(self.tasks[key][('zero-shot', 0)]))

    def score(self, key: tuple[str, str], way: str, labels: int) -> float | None:
        r"""A score, or none."""
        scores = self.tasks[key].get((way, labels))
        return None if scores is None else scores[self.metric(key)]

    def floor(self, key: tuple[str, str], simple: bool = True) -> float | None:
        r"""The best of the baselines on the same rows: of constants and means of the
        entity alone, or of all, forecasts from its labels among them.
        """
        metric = self.metric(key)
        sign = NUMBER[metric]
        found = self.baselines.get(key, {})
        scores = [
            figures[metric]
            for name, figures in found.items()
            if name in SIMPLE or not simple
        ]
        return sign * max(sign * score for score in scores) if scores else None


def table(figures: Figures) -> str:
    r"""The scores as reStructuredText, and what they come to."""
    head = ['database', 'task', 'metric', 'best simple', 'best baseline', 'zero-shot']
    head.append('continued')
    few = {
        labels
        for key, ways in figures.tasks.items()
        for _, labels in ways
        if labels not in (0, figures.most[key])
    }
    for n in sorted(few):
        head += [f'{n} labels, fine-tuned', 'scratch']
    if any(key[0] == 'fine-tuned' for ways in figures.tasks.values() for key in ways):
        head += ['all labels, fine-tuned', 'scratch']
    rows, shares = [], []
    wins: dict[bool, list[bool]] = {True: [], False: []}
    tuned_wins: dict[str, list[bool]] = {}
    for key in sorted(figures.tasks):
        metric, most = figures.metric(key), figures.most[key]
        zero = figures.score(key, 'zero-shot', 0)
        assert zero is not None
        floors = [figures.floor(key, simple) for simple in wins]
        for simple, floor in zip(wins, floors):
            if floor is not None:
                wins[simple].append(NUMBER[metric] * zero > NUMBER[metric] * floor)
        cells = [*floors, zero, figures.score(key, 'continued', 0)]
        for n in [*sorted(few), most]:
            tuned = figures.score(key, 'fine-tuned', n)
            new = figures.score(key, 'scratch', n)
            cells += [tuned, new]
            if tuned is not None and new is not None:
                name = 'all' if n == most else str(n)
                better = NUMBER[metric] * (tuned - new) > 0
                tuned_wins.setdefault(name, []).append(better)
        tuned = figures.score(key, 'fine-tuned', most)
        if metric == 'roc_auc' and tuned is not None:
            shares.append(zero / tuned)
        shown = ['' if c is None else f'{c:.3f}' for c in cells]
        rows.append([*key, metric, *shown][: len(head)])
    lines = [to_rst('\n'.join(markdown(head, rows)))]
    simple, every = (f'{sum(won)} of {len(won)}' for won in wins.values())
    lines.append(
        f'Zero-shot beats the best simple prediction on {simple} tasks, and the best '
        f'baseline, forecasts from the labels of the entity among them, on {every}.'
    )
    if shares:
        lines[-1] += (
            f' Over {len(shares)} binary tasks its AUROC is {np.mean(shares):.1%} of '
            'that of the model fine-tuned on all labels.'
        )
    if tuned_wins:
        counts = [f'{n} on {sum(w)} of {len(w)}' for n, w in tuned_wins.items()]
        lines[-1] += (
            ' Fine-tuned is ahead of from scratch, of as many labels: '
            f'{", ".join(counts)} tasks.'
        )
    return '\n'.join(lines) + '\n'


def plot(figures: Figures, path: Path) -> None:
    r"""Val scores against steps, with all labels, fine-tuned and from scratch."""
    keys = list(figures.curves)
    if not keys:
        return
    columns = min(4, len(keys))
    height = -(-len(keys) // columns)
    size = (3.2 * columns, 2.5 * height)
    _, axes = plt.subplots(height, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(keys) :]:
        axis.axis('off')
    for key, axis in zip(keys, axes.flat):
        most, metric = figures.most[key], figures.metric(key)
        for way in ('fine-tuned', 'scratch'):
            curve = figures.curves[key].get((f'{way} curve', most))
            if curve:
                column = next(c for c in curve[0] if c.endswith(metric))
                steps = [row['step'] for row in curve]
                axis.plot(steps, [row[column] for row in curve], label=way)
        axis.set_title(' '.join(key), fontsize=8)
        axis.set_xlabel('step', fontsize=8)
        axis.set_ylabel(f'val {metric}', fontsize=8)
        axis.tick_params(labelsize=7)
    axes.flat[0].legend(fontsize=8)
    plt.tight_layout()
    plt.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('results', type=Path)
    parser.add_argument('--split', default='test')
    parser.add_argument('--protocol', default='rolling')
    parser.add_argument('--rst', type=Path)
    parser.add_argument('--plot', type=Path)
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.results.read_text().splitlines()]
    figures = Figures(lines, args.split, args.protocol)
    text = table(figures)
    print(text)
    if args.rst is not None:
        args.rst.write_text(text)
    if args.plot is not None:
        plot(figures, args.plot)


if __name__ == '__main__':
    main()
