r"""Tables and a plot of the results of masking.py, with intervals."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.relbench.bootstrap import resampled, resamples
from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN
from benchmark.relbench.results import load_predictions
from benchmark.relbench.rst import markdown

KEYS = (
    'database',
    'task',
    'objective',
    'labels',
    'seed',
    'budget',
    'fine_tune_steps',
)
Lines = list[dict[str, Any]]


def read_results(path: Path) -> Lines:
    r"""The lines of a results file, none if there is no file.

    Raises:
        ValueError: If a line is no result of this benchmark, or stands there twice.
    """
    lines: Lines = []
    seen: set[tuple[Any, ...]] = set()
    for number, text in enumerate(
        path.read_text().splitlines() if path.exists() else [], 1
    ):
        try:
            line = json.loads(text)
            key = tuple(line[k] for k in KEYS)
            float(line['metrics']['test'][MAIN[line['kind']]])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f'{path}, line {number}: no result of this benchmark ({error!r}). '
                'Remove the line and run it again.'
            ) from error
        if key in seen:
            raise ValueError(f'{path}, line {number}: the same run stands there before')
        seen.add(key)
        lines.append(line)
    return lines


class Estimate(NamedTuple):
    r"""An objective on a task: the mean over seeds, and intervals of 95 %.

    Args:
        mean: The test metric.
        interval: Of the mean, over test rows.
        seeds: The metric of each seed.
        gain: How much better than without pretraining, of the seeds that both have.
        gain_interval: Of the gain, over the same test rows.
    """

    mean: float
    interval: tuple[float, float]
    seeds: list[float]
    gain: float | None
    gain_interval: tuple[float, float] | None


def groups_of(lines: Lines) -> dict[tuple[str, ...], dict[str, Lines]]:
    r"""Lines by database, task, labels and budget, then by objective."""
    out: dict[tuple[str, ...], dict[str, Lines]] = {}
    for line in lines:
        key = (line['database'], line['task'], line['labels'], line['budget'])
        out.setdefault(key, {}).setdefault(line['objective'], []).append(line)
    return dict(sorted(out.items()))


def estimates(group: dict[str, Lines], folder: Path) -> dict[str, Estimate]:
    r"""The figures of each objective of a group, by a paired bootstrap over rows."""
    kind = next(iter(group.values()))[0]['kind']
    metric = MAIN[kind]
    sign = -1.0 if metric in LESS_IS_BETTER else 1.0
    curves: dict[str, dict[int, np.ndarray]] = {}
    weights = None
    for objective, lines in group.items():
        for line in lines:
            found = load_predictions(line, folder)
            if found is None:
                raise FileNotFoundError(f'no {line["predictions"]} in {folder}')
            label, prediction = found['test']
            rows = np.arange(len(label))
            weights = resamples(rows) if weights is None else weights
            # Errors are in the unit of the label until here.
            unit = line['train_std'] if metric == 'nmae' else 1.0
            curve = resampled(kind, label, [prediction], weights) / unit
            curves.setdefault(objective, {})[line['seed']] = curve
    out = {}
    for objective, lines in group.items():
        values = [line['metrics']['test'][metric] for line in lines]
        mean = np.mean(list(curves[objective].values()), axis=0)
        gain = gain_interval = None
        shared = set(curves[objective]) & set(curves.get('none', {}))
        if objective != 'none' and shared:
            both = [curves[objective][s] - curves['none'][s] for s in shared]
            gain_interval = _interval(np.mean(both, axis=0))
            by_seed = {
                name: {
                    line['seed']: line['metrics']['test'][metric]
                    for line in group[name]
                }
                for name in (objective, 'none')
            }
            gain = sign * float(
                np.mean([by_seed[objective][s] - by_seed['none'][s] for s in shared])
            )
        low, high = sorted(sign * np.array(_interval(mean)))
        out[objective] = Estimate(
            float(np.mean(values)),
            (float(low), float(high)),
            values,
            gain,
            gain_interval,
        )
    return out


def _interval(curve: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(curve, [0.025, 0.975])
    return float(low), float(high)


def report(lines: Lines, folder: Path) -> str:
    r"""Markdown of all lines, a section a task, number of labels and budget."""
    out = []
    for (database, task, labels, budget), group in groups_of(lines).items():
        metric = MAIN[next(iter(group.values()))[0]['kind']]
        better = 'less' if metric in LESS_IS_BETTER else 'more'
        out += [f'## {database}: {task}, {labels} labels, {budget}', '']
        out += [f'Test {metric}, rolling ({better} is better).', '']
        header = ['pretraining', metric, '95 % interval', 'seeds', 'gain over none']
        header += ['95 % interval', 'pretraining steps', 'contexts/s']
        rows = []
        for name, one in estimates(group, folder).items():
            gain = ['', '']
            if one.gain is not None and one.gain_interval is not None:
                low, high = one.gain_interval
                gain = [f'{one.gain:+.4f}', f'{low:+.4f} to {high:+.4f}']
                if low > 0 or high < 0:
                    gain[0] = f'**{gain[0]}**'
            figures = group[name][0]['pretraining']
            speed = [
                line['pretraining'].get('contexts_per_second') for line in group[name]
            ]
            rows.append(
                [
                    name,
                    f'{one.mean:.4f}',
                    f'{one.interval[0]:.4f} to {one.interval[1]:.4f}',
                    ' '.join(f'{value:.4f}' for value in one.seeds),
                    *gain,
                    str(figures.get('steps', '')),
                    f'{np.mean(speed):.0f}' if figures else '',
                ]
            )
        out += [*markdown(header, rows), '']
    out += [
        'Intervals are over test rows, by 2000 paired resamples, and not over seeds.'
    ]
    return '\n'.join(out) + '\n'


def draw(lines: Lines, folder: Path, path: Path) -> None:
    r"""A row a task, a panel a number of labels: means, intervals over rows, seeds."""
    import matplotlib.pyplot as plt

    groups = groups_of(lines)
    places = sorted({(*key[:2], key[3]) for key in groups})
    counts = sorted({key[2] for key in groups})
    figure, axes = plt.subplots(
        len(places),
        len(counts),
        figsize=(4.2 * len(counts), 2.8 * len(places)),
        squeeze=False,
    )
    for axis in axes.flat:
        axis.axis('off')  # Until there is something to draw.
    for (database, task, labels, budget), group in groups.items():
        axis = axes[places.index((database, task, budget))][counts.index(labels)]
        axis.axis('on')
        found = estimates(group, folder)
        metric = MAIN[next(iter(group.values()))[0]['kind']]
        for y, (name, one) in enumerate(found.items()):
            color = 'tab:gray' if name == 'none' else 'tab:blue'
            axis.plot(one.interval, [y, y], color=color, linewidth=2)
            axis.plot(one.mean, y, 'o', color=color)
            axis.plot(one.seeds, [y] * len(one.seeds), '|', color='black', markersize=9)
        if 'none' in found:
            axis.axvline(found['none'].mean, color='tab:gray', linewidth=0.8, zorder=0)
        axis.set_yticks(range(len(found)), list(found))
        axis.invert_yaxis()
        if metric in LESS_IS_BETTER:
            axis.invert_xaxis()
        axis.set_title(f'{database}\n{task}, {labels} labels', fontsize=9)
        axis.set_xlabel(f'test {metric}, better to the right', fontsize=8)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
