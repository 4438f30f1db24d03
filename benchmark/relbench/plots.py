r"""Reliability diagrams, residuals, and scores against training seconds."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN
from benchmark.relbench.models import MODELS
from benchmark.relbench.results import load_predictions

Lines = list[dict[str, Any]]

NUM_POINTS = 6
LEAST_SECONDS = 0.1
MARKERS = 'osD^v'


def draw_plots(lines: Lines, folder: Path, out: Path) -> list[Path]:
    r"""Draws the test split of every task and protocol; returns the files."""
    import matplotlib.pyplot as plt

    groups: dict[tuple[str, str, str], Lines] = {}
    for line in lines:
        key = (line['database'], line['task'], line['protocol'])
        groups.setdefault(key, []).append(line)
    paths = []
    for (database, task, protocol), group in sorted(groups.items()):
        figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2))
        styles = _styles(group)
        draw = {'regression': _draw_residuals, 'recommendation': _draw_hits}
        draw.get(group[0]['kind'], _draw_reliability)(left, group, folder, styles)
        _draw_seconds(right, group, styles)
        handles = [
            plt.Line2D([], [], linewidth=1.2, label=model, **style)
            for model, style in styles.items()
        ]
        right.legend(
            handles=handles, loc='center left', bbox_to_anchor=(1, 0.5), fontsize=8
        )
        figure.suptitle(f'{database}: {task}, test, {protocol} protocol')
        figure.tight_layout()
        paths.append(out / f'{database}-{task}-{protocol}.svg')
        figure.savefig(paths[-1])
        plt.close(figure)
    return paths


def _styles(lines: Lines) -> dict[str, dict[str, Any]]:
    # A colour and a marker that no two models of a figure share.
    import matplotlib

    found = {line['model'] for line in lines}
    names = [name for name in MODELS if name in found]
    names += sorted(found - set(names))
    colours = matplotlib.colormaps['tab10'].colors
    return {
        name: {'color': colours[i % 10], 'marker': MARKERS[i // 10], 'markersize': 4}
        for i, name in enumerate(names)
    }


def _first_seeds(lines: Lines, folder: Path) -> dict[str, tuple[Any, Any]]:
    out: dict[str, tuple[Any, Any]] = {}
    for line in sorted(lines, key=lambda line: line['seed']):
        predictions = load_predictions(line, folder)
        if predictions is not None:
            out.setdefault(line['model'], predictions['test'])
    return out


def _draw_reliability(
    axes: Any, lines: Lines, folder: Path, styles: dict[str, Any]
) -> None:
    axes.plot([0, 1], [0, 1], color='grey', linewidth=0.8)
    for model, (label, prediction) in _first_seeds(lines, folder).items():
        if prediction.ndim == 2:  # Of the class that is chosen.
            label = prediction.argmax(axis=1) == label
            prediction = prediction.max(axis=1)
        if np.unique(prediction).size < 10 * NUM_POINTS:
            continue  # Too few values to share out: constants, means of few labels.
        parts = np.array_split(np.argsort(prediction, kind='stable'), NUM_POINTS)
        mean = [prediction[part].mean() for part in parts]
        share = [label[part].mean() for part in parts]
        axes.plot(mean, share, linewidth=1.2, **styles[model])
    axes.set(
        xlabel=f'predicted probability, mean of a {NUM_POINTS}th of the rows',
        ylabel='share of true labels among them',
        title='Reliability, first seeds',
    )


def _draw_residuals(
    axes: Any, lines: Lines, folder: Path, styles: dict[str, Any]
) -> None:
    found = _first_seeds(lines, folder)
    names = [name for name in reversed(styles) if name in found]
    residuals = [found[name][1] - found[name][0] for name in names]
    axes.axvline(0, color='grey', linewidth=0.8)
    boxes = axes.boxplot(
        residuals, orientation='horizontal', showfliers=False, patch_artist=True
    )
    for name, box in zip(names, boxes['boxes'], strict=True):
        box.set_facecolor(styles[name]['color'])
    axes.set_yticks(range(1, len(names) + 1), names, fontsize=8)
    axes.set(xlabel='prediction - label', title='Residuals, first seeds')


def _draw_hits(axes: Any, lines: Lines, folder: Path, styles: dict[str, Any]) -> None:
    for model, (truth, prediction) in _first_seeds(lines, folder).items():
        chosen = prediction.astype(int)
        hit = np.take_along_axis(truth > 0, np.maximum(chosen, 0), axis=1)
        share = (hit & (chosen >= 0)).cumsum(axis=1).mean(axis=0)
        axes.plot(np.arange(1, len(share) + 1), share, linewidth=1.2, **styles[model])
    axes.set(
        xlabel='destinations recommended',
        ylabel='hits among them, mean over entities',
        title='Hits, first seeds',
    )


def _draw_seconds(axes: Any, lines: Lines, styles: dict[str, Any]) -> None:
    metric = MAIN[lines[0]['kind']]
    for model, style in styles.items():
        own = [line for line in lines if line['model'] == model]
        seconds = [max(line['seconds']['fit'], LEAST_SECONDS) for line in own]
        values = [line['metrics']['test'][metric] for line in own]
        axes.plot(seconds, values, linestyle='none', **style)
    better = 'less' if metric in LESS_IS_BETTER else 'more'
    axes.set(
        xscale='log',
        xlabel=f'seconds of training, at least {LEAST_SECONDS}',
        ylabel=f'{metric}, {better} is better',
        title='Each seed',
    )
