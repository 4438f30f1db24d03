from typing import TYPE_CHECKING, Any

from torch_geometric_rfm.visualization.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    new_figure,
    save,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from relbench.base import Database

_MOST_COLUMNS = 7
_WIDTH, _GAP, _LINE = 2.9, 0.75, 0.23


def plot_schema(db: 'Database', path: Any = None) -> 'Figure':
    r"""Draws the tables of a database, with their columns, and the foreign keys that
    lead from each to its parents above it. Dated tables have a blue head.

    Args:
        db (relbench.base.Database): The database.
        path (str, optional): Where the picture is saved. (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.

    Raises:
        ImportError: If matplotlib is not installed.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> figure = plot_schema(toy_database())
        >>> texts = [text.get_text() for text in figure.axes[0].texts]
        >>> 'orders  (200)' in texts, '→ customers' in texts
        (True, True)
    """
    depths = table_depths(db)
    levels: list[list[str]] = [[] for _ in range(max(depths.values()) + 1)]
    for name, depth in depths.items():
        levels[depth].append(name)
    lines = {name: _lines(table) for name, table in db.table_dict.items()}
    widest = max(map(len, levels))
    heights = [_LINE * (1 + max(len(lines[n]) for n in level)) for level in levels]
    total = sum(heights) + _GAP * (len(levels) - 1)
    width = widest * _WIDTH + (widest - 1) * _GAP / 2
    figure = new_figure(max(4.0, width + 0.4), total + 0.4)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.1, width + 0.1), ylim=(-total - 0.1, 0.1))
    axes.axis('off')

    # Where each table lies, then keys under tables:
    place: dict[str, tuple[float, float, float]] = {}
    top = 0.0
    for level, height in zip(levels, heights):
        step = (width - _WIDTH) / max(1, len(level) - 1)
        for i, name in enumerate(level):
            left = i * step if len(level) > 1 else (width - _WIDTH) / 2
            place[name] = left, -top, _LINE * (1 + len(lines[name]))
        top += height + _GAP
    for name, table in db.table_dict.items():
        left, upper, _ = place[name]
        parents = list(table.fkey_col_to_pkey_table.values())
        for i, parent in enumerate(parents):
            other, ceiling, height = place[parent]
            start = left + _WIDTH * (i + 1) / (len(parents) + 1), upper
            end = other + _WIDTH / 2, ceiling - height
            if parent == name:
                end = left + _WIDTH * 0.9, upper
            axes.annotate(
                '',
                end,
                start,
                zorder=1,
                arrowprops={'arrowstyle': '->', 'color': ORANGE, 'alpha': 0.8},
            )
    for name, table in db.table_dict.items():
        left, upper, height = place[name]
        _box(axes, left, upper, height, GREY, 'white')
        color = GREY if table.time_col is None else BLUE
        _box(axes, left, upper, _LINE, color, color)
        title = f'{name}  ({len(table.df):,})'
        style: dict[str, Any] = {
            'va': 'center',
            'fontsize': 8,
            'clip_on': True,
            'zorder': 3,
        }
        axes.text(left + 0.06, upper - _LINE / 2, title, color='white', **style)
        for i, line in enumerate(lines[name], 1):
            at = upper - _LINE * (i + 0.5)
            axes.text(left + 0.06, at, line, color=INK, **style)
    return save(figure, path)


def table_depths(db: 'Database') -> dict[str, int]:
    r"""How many foreign keys lead from a table upwards, at most; tables of a cycle lie
    where it is first entered.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> depths = table_depths(toy_database())
        >>> depths['orders'] > depths['customers']
        True
    """
    depths: dict[str, int] = {}

    def depth_of(name: str, below: tuple[str, ...]) -> int:
        if name in depths:
            return depths[name]
        parents = set(db.table_dict[name].fkey_col_to_pkey_table.values())
        above = [depth_of(p, (*below, name)) for p in sorted(parents - {*below, name})]
        depth = 1 + max(above, default=-1)
        if not below:
            depths[name] = depth
        return depth

    return {name: depth_of(name, ()) for name in db.table_dict}


def _lines(table: Any) -> list[str]:
    keys = table.fkey_col_to_pkey_table
    columns = [c for c in table.df.columns if c not in keys and c != table.pkey_col]
    lines = [f'→ {parent}' for parent in keys.values()]
    lines += [f'  {column}' for column in columns[:_MOST_COLUMNS]]
    if len(columns) > _MOST_COLUMNS:
        lines.append(f'  and {len(columns) - _MOST_COLUMNS} more')
    return lines


def _box(
    axes: Any, left: float, upper: float, height: float, edge: str, face: str
) -> None:
    from matplotlib.patches import Rectangle

    corner = left, upper - height
    box = Rectangle(corner, _WIDTH, height, edgecolor=edge, facecolor=face, zorder=2)
    axes.add_patch(box)
