import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.metrics import less_is_better
from torch_geometric_rfm.visualization.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    new_figure,
    save,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_learning_curve(metrics_csv: Any, path: Any = None) -> 'Figure':
    r"""Draws how a training run went: its loss, and each val metric with the best
    value marked, against steps (below) and minutes (above).

    Args:
        metrics_csv (str or Path): The :obj:`metrics.csv` of a run, with columns
            :obj:`step`, :obj:`seconds`, :obj:`train_loss` and
            :obj:`val_<metric>`; a field is empty where nothing was measured.
        path (str, optional): Where the picture is saved.
            (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If the file lacks a column, or has no lines.
    """
    columns = _read_columns(Path(metrics_csv))
    panels = ['train_loss', *(name for name in columns if name.startswith('val_'))]
    width = min(len(panels), 3)
    height = -(-len(panels) // width)
    figure = new_figure(5.4 * width, 4.0 * height)
    grid = figure.subplots(height, width, squeeze=False).ravel()
    for axes, name in zip(grid, panels):
        _draw(axes, name, columns)
    for axes in grid[len(panels) :]:
        axes.remove()
    return save(figure, path)


def _read_columns(path: Path) -> dict[str, NDArray[np.float64]]:
    with path.open(newline='') as file:
        reader = csv.DictReader(file)
        lines = list(reader)
        names = list(reader.fieldnames or [])
    missing = [name for name in ('step', 'train_loss') if name not in names]
    if missing:
        raise ValueError(
            f"'{path}' lacks the column {missing[0]!r} (columns are: "
            f'{", ".join(names) or "none"})'
        )
    if not lines:
        raise ValueError(f"'{path}' has no lines: nothing was measured in this run")
    return {
        name: np.array([float(line[name] or 'nan') for line in lines]) for name in names
    }


def _draw(axes: 'Axes', name: str, columns: dict[str, NDArray[np.float64]]) -> None:
    known = ~np.isnan(columns[name])
    step, value = columns['step'][known], columns[name][known]
    if name == 'train_loss':
        tidy(axes, 'training loss', 'step', '')
        axes.plot(step, value, color=BLUE, linewidth=1.8, marker='o', markersize=3)
    else:
        less = less_is_better(name)
        title = f'{name[4:]} on the val split'
        tidy(axes, f'{title} ({"lower" if less else "higher"} is better)', 'step', '')
        axes.plot(step, value, color=ORANGE, linewidth=1.8, marker='o', markersize=3)
        if value.size:
            _mark_best(axes, step, value, less)
    axes.margins(y=0.15)
    first, last = columns['step'].min(), columns['step'].max()
    margin = 0.04 * (last - first) or 1.0
    axes.set_xlim(first - margin, last + margin)
    _add_minutes(axes, columns)


def _mark_best(
    axes: 'Axes', step: NDArray[np.float64], value: NDArray[np.float64], less: bool
) -> None:
    best = int(value.argmin() if less else value.argmax())
    axes.scatter(
        step[best], value[best], s=80, facecolor='none', edgecolor=INK, zorder=3
    )
    right = step[best] > (step[0] + step[-1]) / 2
    axes.annotate(
        f'best {value[best]:.4f}',
        (step[best], value[best]),
        (-9 if right else 9, -12 if less else 9),
        textcoords='offset points',
        ha='right' if right else 'left',
        va='center',
        fontsize=9,
        color=INK,
    )


def _add_minutes(axes: 'Axes', columns: dict[str, NDArray[np.float64]]) -> None:
    if 'seconds' not in columns:
        return
    step, minutes = columns['step'], columns['seconds'] / 60
    # A second axis needs a scale that can be inverted.
    rising = (np.diff(step) > 0).all() and (np.diff(minutes) > 0).all()
    if len(step) < 2 or not rising:
        return
    top = axes.secondary_xaxis(
        'top',
        functions=(
            lambda at: _through(step, minutes, at),
            lambda at: _through(minutes, step, at),
        ),
    )
    from matplotlib.ticker import MaxNLocator

    # Steps that took long beside the others would crowd their minutes.
    ticks = MaxNLocator(6).tick_values(minutes[0], minutes[-1])
    ticks = ticks[(ticks >= minutes[0]) & (ticks <= minutes[-1])]
    apart = 0.08 * (step[-1] - step[0])
    shown: list[float] = []
    for tick, at in zip(ticks, _through(minutes, step, ticks)):
        if not shown or at - _through(minutes, step, shown[-1]) >= apart:
            shown.append(float(tick))
    top.set_xticks(shown)
    top.set_xlabel('minutes', color=GREY, fontsize=9)
    top.tick_params(colors=GREY, labelsize=8)
    top.spines['top'].set_visible(False)


def _through(
    x: NDArray[np.float64], y: NDArray[np.float64], at: Any
) -> NDArray[np.float64]:
    # Linear between the points, and on beyond them.
    at = np.asarray(at, dtype=np.float64)
    i = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    return y[i] + (at - x[i]) * (y[i + 1] - y[i]) / (x[i + 1] - x[i])
