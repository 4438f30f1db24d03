r"""What all pictures share: how they are made, look and are saved."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK = '#2f6db5', '#d9722b', '#9aa3ad', '#2b3138'
COLORS = (
    '#2f6db5',
    '#d9722b',
    '#3a9a5b',
    '#c23b4e',
    '#8062b3',
    '#8c6a4f',
    '#d079ab',
    '#6f7780',
    '#b3a429',
    '#2ba3b5',
    '#8db4de',
    '#f0b48a',
    '#95cba8',
    '#e29aa4',
    '#beadd9',
    '#c4ab97',
)
r"""Colours that are told apart, for up to sixteen kinds of things."""


def new_figure(width: float, height: float) -> 'Figure':
    r"""An empty figure that needs no display and no global state of matplotlib.

    Args:
        width (float): Width in inches.
        height (float): Height in inches.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'matplotlib is needed to plot: pip install "torch-geometric-rfm[plot]"'
        ) from error
    return Figure(figsize=(width, height), layout='constrained', facecolor='white')


def save(figure: 'Figure', path: Any) -> 'Figure':
    r"""Writes a figure, if a path is given, and returns it.

    Args:
        figure (matplotlib.figure.Figure): The figure.
        path (str or Path, optional): A file; its folder is made if needed.
    """
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160)
    return figure


def tidy(axes: 'Axes', title: str, xlabel: str, ylabel: str) -> None:
    r"""Gives a plot its words, thin grid lines and no box.

    Args:
        axes (matplotlib.axes.Axes): The plot.
        title (str): Stands above it, on the left.
        xlabel (str): Name of the horizontal axis.
        ylabel (str): Name of the vertical axis.
    """
    axes.set_title(title, loc='left', fontsize=11, color=INK)
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.grid(color='#e6e9ec', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
