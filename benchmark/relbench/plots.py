r"""Reliability diagrams, residuals, and scores against training seconds."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN, NUM_BINS
from benchmark.relbench.results import load_predictions

Lines = list[dict[str, Any]]


def draw_plots(lines: Lines, folder: Path, out: Path) -> list[Path]:
    r"""Draws the test split of every task and protocol; returns the files."""
    import matplotlib.pyplot as plt

    groups: dict[tuple[str, str, str], Lines] = {}
    for line in lines:
        key = (line['database'], line['task'], line['protocol'])
        groups.setdefault(key, []).append(line)
    paths = []
    for (database, task, protocol), group in sorted(groups.items()):
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
        draw = {'regression': _draw_residuals, 'recommendation': _draw_hits}
        draw.get(group[0]['kind'], _draw_reliability)(left, group, folder)
        _draw_seconds(right, group)
        figure.suptitle(f'{database}: {task}, test, {protocol} protocol, first seeds')
        figure.tight_layout()
        paths.append(out / f'{database}-{task}-{protocol}.svg')
        figure.savefig(paths[-1])
        plt.close(figure)
    return paths


def _first_seeds(lines: Lines, folder: Path) -> dict[str, tuple[Any, Any]]:
    out: dict[str, tuple[Any, Any]] = {}
    for line in sorted(lines, key=lambda line: line['seed']):
        predictions = load_predictions(line, folder)
        if predictions is not None:
            out.setdefault(line['model'], predictions['test'])
    return out


def _draw_reliability(axes: Any, lines: Lines, folder: Path) -> None:
    axes.plot([0, 1], [0, 1], color='grey', linewidth=0.8)
    for model, (label, prediction) in _first_seeds(lines, folder).items():
        if prediction.ndim == 2:  # Of the class that is chosen.
            label = prediction.argmax(axis=1) == label
            prediction = prediction.max(axis=1)
        if np.unique(prediction).size <= 2:
            continue  # A constant is a point, not a curve.
        bins = np.minimum((prediction * NUM_BINS).astype(int), NUM_BINS - 1)
        used = np.unique(bins)
        mean = [prediction[bins == b].mean() for b in used]
        share = [label[bins == b].mean() for b in used]
        axes.plot(mean, share, marker='.', linewidth=1, label=model)
    axes.set(xlabel='predicted probability', ylabel='share of true labels')
    axes.legend(fontsize=7)


def _draw_residuals(axes: Any, lines: Lines, folder: Path) -> None:
    found = _first_seeds(lines, folder)
    residuals = [prediction - label for label, prediction in found.values()]
    axes.axvline(0, color='grey', linewidth=0.8)
    axes.boxplot(residuals, orientation='horizontal', showfliers=False)
    axes.set_yticks(range(1, len(found) + 1), list(found), fontsize=7)
    axes.set_xlabel('prediction - label')


def _draw_hits(axes: Any, lines: Lines, folder: Path) -> None:
    for model, (truth, prediction) in _first_seeds(lines, folder).items():
        chosen = prediction.astype(int)
        hit = np.take_along_axis(truth > 0, np.maximum(chosen, 0), axis=1)
        share = (hit & (chosen >= 0)).mean(axis=0)
        axes.plot(np.arange(1, len(share) + 1), share, marker='.', label=model)
    axes.set(xlabel='rank', ylabel='share of hits at this rank')
    axes.legend(fontsize=7)


def _draw_seconds(axes: Any, lines: Lines) -> None:
    metric = MAIN[lines[0]['kind']]
    for model in dict.fromkeys(line['model'] for line in lines):
        own = [line for line in lines if line['model'] == model]
        seconds = [max(line['seconds']['fit'], 1e-3) for line in own]
        values = [line['metrics']['test'][metric] for line in own]
        axes.scatter(seconds, values, s=14, label=model)
    better = 'less' if metric in LESS_IS_BETTER else 'more'
    axes.set(xscale='log', xlabel='seconds of training')
    axes.set_ylabel(f'{metric}, {better} is better')
    axes.legend(fontsize=7)
