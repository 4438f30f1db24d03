import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.columns import infer_cell_type
from torch_geometric_rfm.testing.raw_database import NEVER, RawDatabase

if TYPE_CHECKING:
    from torch_geometric_rfm.testing.leakage import ContextView

_NUM_CHILDREN = 64
_MAX_ROWS = 4096  # of train, that statistics are taken from
_DAY = 86_400
_HALF_LIVES = (np.inf, 16, 8, 4, 2, 1, 0.5)  # labels
_PRIORS = (10, 3, 1, 0.3, 0.1)  # labels
_WITHOUT_EVIDENCE = 4, 1


class Summary(NamedTuple):
    r"""What a cell says of the children of an entity, or of labels."""

    table: str | None = None
    key: str = ''
    column: str | None = None  # whose mean it is; their number if none
    window: int | None = None  # seconds that count; all if none
    labels: str | None = None  # mean, smoothed, number, or mean of all


def summaries_of(view: 'ContextView') -> dict[str, Summary]:
    r"""What cells of the task table may summarise, by the names of their columns."""
    assert view.task is not None
    horizon = math.ceil(view.task.horizon.total_seconds())
    mean = f'mean {view.task.target_col} of {view.task.name}'
    out = {
        mean: Summary(labels='mean'),
        f'{mean}, smoothed': Summary(labels='smoothed'),
        f'{mean} of all lately': Summary(labels='all'),
        f'number of known {view.task.name}': Summary(labels='number'),
    }
    for table, source in view.raw.tables.items():
        for key, parent in source.fkey_col_to_pkey_table.items():
            if parent != view.task.entity_table:
                continue
            name = f'number of {table} by {key}'
            out[name] = Summary(table, key)
            for window in (horizon, 4 * horizon):
                dated = f'{name} in the last {window / _DAY:g} days'
                out[dated] = Summary(table, key, window=window)
            for column in source.df.columns:
                if (table, column) not in view.task.hidden_columns:
                    what = f'mean {column} of {table} by {key}'
                    out[what] = Summary(table, key, column)
    return out


def wrong_summaries(
    view: 'ContextView', cells: NDArray[Any], summary: Summary, strict: bool
) -> Iterator[str]:
    r"""Cells of one column that do not hold what the data frames make of it."""
    assert view.task is not None
    rows = view.row[cells]
    stray = ~view.is_seed[rows]
    yield from view.report('summary of what is no seed', stray, rows)
    entity = view.task.frame['entity'].to_numpy()
    entity_time = view.raw.time(view.task.entity_table)

    score = _clip(view.label, *view.label_scale)
    train = np.flatnonzero((view.task.frame['split'] == 'train').to_numpy())
    smoothing = (
        _best_smoothing(view, score, train) if summary.labels == 'smoothed' else None
    )

    def value(index: int, until: int) -> float:
        if summary.labels is not None:
            own = entity == entity[index]
            return _label_value(view, score, summary.labels, own, until, smoothing)
        if entity_time[entity[index]] > until:
            return float('nan')
        return _value(view.raw, summary, entity[index], until)

    late = int(strict and summary.labels is None)
    until = view.until[view.context[rows]] - late
    found = np.array(
        [value(i, t) for i, t in zip(view.index[rows].tolist(), until.tolist())]
    )
    train = train[:: max(1, -(-train.size // _MAX_ROWS))]
    if summary.labels not in (None, 'number'):
        train = train[:0]  # Means of labels are in the unit of labels.
    known = np.array([value(i, view.label_time[i] - late) for i in train.tolist()])
    known = known[~np.isnan(known)]
    mean, std = (known.mean(), known.std()) if known.size else (0.0, 1.0)
    std = std if std > 1e-6 else 1.0
    expected = (found - mean) / std
    seen = ~(view.mask | view.shown)[cells]
    wrong = ~(np.abs(view.value[cells] - expected) <= 1e-4 * (1 + np.abs(expected)))
    yield from view.report('wrong summary', wrong & seen, rows)


def _label_value(
    view: 'ContextView',
    score: NDArray[np.float64],
    what: str,
    own: NDArray[np.bool_],
    until: int,
    smoothing: tuple[float, float] | None,
) -> float:
    assert view.task is not None
    horizon = math.ceil(view.task.horizon.total_seconds())
    chosen = _is_known(view, score, until)
    chosen &= ~_is_known(view, score, until - 4 * horizon) if what == 'all' else own
    if what == 'number':
        return float(np.log1p(chosen.sum()))
    if smoothing is not None:
        return _smooth(_in_order(view, score, chosen), *smoothing)
    return float(score[chosen].mean()) if chosen.any() else float('nan')


def _is_known(
    view: 'ContextView', score: NDArray[np.float64], until: int
) -> NDArray[np.bool_]:
    assert view.task is not None
    horizon = math.ceil(view.task.horizon.total_seconds())
    time = view.label_time
    return (time < until) & (time + horizon <= until) & ~np.isnan(score)


def _in_order(
    view: 'ContextView', score: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    # The latest last.
    rows = np.flatnonzero(chosen)
    return score[rows[np.argsort(view.label_time[rows], kind='stable')]]


def _smooth(labels: NDArray[np.float64], half_life: float, prior: float) -> float:
    if labels.size == 0:
        return float('nan')
    weight = 0.5 ** (np.arange(labels.size)[::-1] / half_life)
    return float((weight * labels).sum() / (prior + weight.sum()))


def _best_smoothing(
    view: 'ContextView', score: NDArray[np.float64], train: NDArray[np.int64]
) -> tuple[float, float]:
    # The half-life and the prior of the least squared error on train rows, of which a
    # hash of their place draws some.
    assert view.task is not None
    entity = view.task.frame['entity'].to_numpy()
    seen, size = [], train.size
    drawn = [k * 2_654_435_761 % 2**32 * size < 2**32 * _MAX_ROWS for k in range(size)]
    train = train[np.array(drawn, dtype=bool)]
    train = train[~np.isnan(score[train])]
    for i in train.tolist():
        own = (entity == entity[i]) & _is_known(view, score, view.label_time[i])
        seen.append(_in_order(view, score, own))
    pairs = [(labels, y) for labels, y in zip(seen, score[train]) if labels.size]

    def error(given: tuple[float, float]) -> float:
        misses = [(_smooth(labels, *given) - y) ** 2 for labels, y in pairs]
        return round(sum(misses) / len(pairs), 9)

    if not pairs:
        return _WITHOUT_EVIDENCE
    return min(((h, p) for h in _HALF_LIVES for p in _PRIORS), key=error)


def _value(raw: RawDatabase, summary: Summary, entity: int, until: int) -> float:
    assert summary.table is not None
    time = raw.time(summary.table)
    children = np.flatnonzero(raw.parent(summary.table, summary.key) == entity)
    children = children[(time[children] <= until) & (time[children] != NEVER)]
    children = children[np.argsort(time[children], kind='stable')]
    if summary.column is None:
        if summary.window is not None:
            children = children[time[children] > until - summary.window]
        return float(np.log1p(children.size))
    values = _scores(raw, summary.table, summary.column)[children[-_NUM_CHILDREN:]]
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float('nan')


def _scores(raw: RawDatabase, table: str, column: str) -> NDArray[np.float64]:
    mean, std = raw.scale(table, column)
    declared = raw.col_to_stype.get(table, {}).get(column)
    kind = infer_cell_type(raw.tables[table].df[column], table)
    is_boolean = kind == CellType.BOOLEAN if declared is None else declared == 'boolean'
    if is_boolean and std == 1.0:  # Constant.
        mean = 0.5
    return _clip(raw.numbers(table, column), mean, std)


def _clip(raw: NDArray[Any], mean: float, std: float) -> NDArray[np.float64]:
    return np.clip((raw - mean) / std, -1e4, 1e4)
