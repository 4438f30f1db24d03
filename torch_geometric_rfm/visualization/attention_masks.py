from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data import CellData
from torch_geometric_rfm.nn.attention_masks import to_edge_index
from torch_geometric_rfm.visualization.style import (
    COLORS,
    GREY,
    INK,
    new_figure,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MASKS = (
    ('column', 'cells of the same column'),
    ('feature', 'cells of its own row and of its parents'),
    ('neighbor', 'cells of the rows that refer to its row'),
    ('full', 'every cell'),
)


def plot_attention_masks(
    cells: CellData, context: int = 0, path: Any = None
) -> 'Figure':
    r"""Draws who attends to whom in a context: its four masks side by side.

    A line of a picture is a query cell, a point in it a key cell that it
    attends to, in the colour of the key's table. Cells lie by table, the
    table of the seed row first, and within a table by row.

    Args:
        cells (CellData): The contexts.
        context (int): Which of them is drawn. (default: :obj:`0`)
        path (str, optional): Where the picture is saved.
            (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no such context.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> figure = plot_attention_masks(random_cells(num_contexts=2), context=1)
        >>> [axes.get_title(loc='left').split(':')[0] for axes in figure.axes]
        ['column', 'feature', 'neighbor', 'full']
    """
    if not 0 <= context < cells.num_contexts:
        raise ValueError(
            f'context must lie in [0, {cells.num_contexts}) (got {context})'
        )
    figure = new_figure(17.5, 5.1)
    own = (cells.batch_or_zeros == context).cpu().numpy()
    row = cells.row.cpu().numpy()[own]
    seed = row == int(cells.seed_row[context])
    table = cells.row_table.cpu().numpy()[row]
    order, blocks = _by_table(row, table, seed)
    figure.suptitle(
        f'Who attends to whom: one context of {len(row):,} cells in '
        f'{len(np.unique(row)):,} rows of {len(blocks)} tables\n'
        'Each line is a query cell, each point in it a key cell that it attends to, '
        "in the colour of the key's table.  ▸ seed row, whose label is hidden",
        x=0.005,
        ha='left',
        fontsize=12,
        linespacing=1.5,
        color=INK,
    )
    first = int(np.argmax(own))
    for axes, (name, words) in zip(figure.subplots(1, 4), _MASKS):
        key, query = to_edge_index(cells, name).cpu().numpy()
        inside = own[query]
        mask = np.zeros((len(row), len(row)), dtype=bool)
        mask[query[inside] - first, key[inside] - first] = True
        axes.imshow(_paint(mask[np.ix_(order, order)], blocks), interpolation='none')
        axes.set_title(
            f'{name}: {words}\n{_percent(mask.mean())} of all pairs',
            loc='left',
            fontsize=10.5,
            color=INK,
        )
        names = _table_names(cells, context) if name == 'column' else None
        _frame(axes, blocks, names, np.flatnonzero(seed[order]))
    return save(figure, path)


def _percent(share: float) -> str:
    return f'{100 * share:.0f} %' if share >= 0.1 else f'{100 * share:.2g} %'


def _table_names(cells: CellData, context: int) -> list[str]:
    names = cells.table_names
    # A batch made of single contexts keeps one list each.
    return names[context] if isinstance(names[0], list) else names


def _by_table(
    row: NDArray[np.int64], table: NDArray[np.int64], seed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    # Display order of the cells, and (table, first, end) of each block in it.
    known, first = np.unique(table, return_index=True)
    known = known[np.argsort(first, kind='stable')]
    seed_table = table[seed][:1] if seed.any() else known[:1]
    known = np.concatenate([seed_table, known[known != seed_table]])
    place = {number: i for i, number in enumerate(known.tolist())}
    rank = np.array([place[number] for number in table.tolist()])
    order = np.lexsort((np.arange(len(row)), row, ~seed, rank))
    ends = np.cumsum(np.bincount(rank))
    starts = [0, *ends[:-1].tolist()]
    return order, list(zip(known.tolist(), starts, ends.tolist()))


def _paint(
    mask: NDArray[np.bool_], blocks: list[tuple[int, int, int]]
) -> NDArray[np.float64]:
    from matplotlib.colors import to_rgb

    color = np.ones((mask.shape[1], 3))
    for i, (_, start, end) in enumerate(blocks):
        color[start:end] = to_rgb(COLORS[i % len(COLORS)])
    return np.where(mask[:, :, None], color[None], 1.0)


def _frame(
    axes: 'Axes',
    blocks: list[tuple[int, int, int]],
    names: list[str] | None,
    seed: NDArray[np.int64],
) -> None:
    size = blocks[-1][2]
    for i, (_, start, end) in enumerate(blocks):
        color = COLORS[i % len(COLORS)]
        if start:
            axes.axhline(start - 0.5, color='#d5d9dd', linewidth=0.5)
            axes.axvline(start - 0.5, color='#d5d9dd', linewidth=0.5)
        # Strips in the colour of each table, outside on the left and below.
        for x, y, width, height in (
            (-0.035, 1 - end / size, 0.022, (end - start) / size),
            (start / size, -0.035, (end - start) / size, 0.022),
        ):
            axes.add_patch(_strip(axes, x, y, width, height, color))
    if seed.size:
        middle = (seed.mean() + 0.5) / size
        for marker, x, y in (('▸', -0.06, 1 - middle), ('▴', middle, -0.06)):
            axes.annotate(
                marker,
                (x, y),
                xycoords='axes fraction',
                ha='center',
                va='center',
                fontsize=9,
                color=INK,
                annotation_clip=False,
            )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(GREY)
    axes.set_xlabel('key cells', color=INK, labelpad=14)
    if names is None:
        axes.set_ylabel('query cells', color=INK, labelpad=14)
    else:
        _write_names(axes, blocks, names, size)


def _strip(
    axes: 'Axes', x: float, y: float, width: float, height: float, color: str
) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (x, y),
        width,
        height,
        transform=axes.transAxes,
        clip_on=False,
        color=color,
        linewidth=0,
    )


def _write_names(
    axes: 'Axes', blocks: list[tuple[int, int, int]], names: list[str], size: int
) -> None:
    # Names stand beside their blocks, pushed apart, up and down alike, where blocks
    # are thin; a mean of two orders that keep their distance keeps it too.
    centre = np.array([(start + end) / 2 / size for _, start, end in blocks])
    count = len(blocks)
    apart = min(0.052, 1 / max(1, count - 1))
    steps = apart * np.arange(count)
    down = np.maximum.accumulate(centre - steps)
    up = np.minimum.accumulate((centre - steps)[::-1])[::-1]
    place = steps + np.clip((down + up) / 2, 0, 1 - steps[-1])
    for i, (number, _, _) in enumerate(blocks):
        color = COLORS[i % len(COLORS)]
        axes.annotate(
            names[number],
            (-0.075 if i == 0 else -0.04, 1 - centre[i]),
            (-0.16, 1 - place[i]),
            xycoords='axes fraction',
            ha='right',
            va='center',
            fontsize=9,
            color=INK,
            arrowprops={
                'arrowstyle': '-',
                'color': color,
                'linewidth': 1.0,
                'relpos': (1, 0.5),
            },
        )
