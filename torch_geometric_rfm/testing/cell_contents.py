from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.testing.history_cells import summaries_of, wrong_summaries
from torch_geometric_rfm.testing.raw_database import ALWAYS

if TYPE_CHECKING:
    from torch_geometric_rfm.data.text_encoder import TextEncoder
    from torch_geometric_rfm.testing.leakage import ContextView

_DAY = 86_400.0
_MAX_SCORE = 1e4


def wrong_cells(
    view: 'ContextView', strict: bool, encoder: 'TextEncoder | None' = None
) -> Iterator[str]:
    r"""Cells that may not be seen, or do not hold what the data frame holds."""
    table_of = view.table[view.row]
    for table, column in np.unique(np.stack([table_of, view.column]), axis=1).T:
        cells = np.flatnonzero((table_of == table) & (view.column == column))
        name = view.cells.column_names[column]
        table_name = view.table_names[table]
        if view.is_label_table(table):
            yield from _wrong_label_cells(view, cells, name, strict)
        elif not name.endswith(f' of {table_name}'):
            yield f"foreign column: '{name}' in table '{table_name}'"
        else:
            short = name[: -len(f' of {table_name}')]
            yield from _wrong_column(view, cells, table_name, short, encoder)
    hidden = view.mask & ((view.value != 0) | (view.relative_time != 0))
    yield from view.report('value of a hidden cell', hidden, view.row)
    given = ~view.mask & ~view.shown & ~np.isnan(view.target)
    yield from view.report('target of a visible cell', given, view.row)


def _wrong_label_cells(
    view: 'ContextView', cells: NDArray[Any], name: str, strict: bool
) -> Iterator[str]:
    assert view.task is not None
    index = view.index[view.row[cells]]
    rows, seen = view.row[cells], ~(view.mask | view.shown)[cells]
    if name == f'{view.task.target_col} of {view.task.name}':
        expected = _score(view.label[index], *view.label_scale)
        wrong = _differ(view.value[cells], expected) & seen
        yield from view.report('wrong label value', wrong, rows)
        wrong = view.kind[cells] != view.task.cell_type
        yield from view.report('wrong label type', wrong, rows)
    elif name == f'{view.task.time_col} of {view.task.name}':
        wrong = _differ_datetimes(view, cells, view.label_time[index]) & seen
        yield from view.report('wrong label time', wrong, rows)
    elif name in (summaries := summaries_of(view)):
        yield from wrong_summaries(view, cells, summaries[name], strict)
    else:
        yield f"foreign column: '{name}' in the task table"


def _wrong_column(
    view: 'ContextView',
    cells: NDArray[Any],
    table: str,
    column: str,
    encoder: 'TextEncoder | None',
) -> Iterator[str]:
    source = view.raw.tables[table]
    if column == source.pkey_col or column in source.fkey_col_to_pkey_table:
        yield f"key as a cell: '{column}' of '{table}'"
        return
    rows = view.row[cells]
    index = view.index[rows]
    seen = ~(view.mask | view.shown)[cells]
    hidden = view.task is not None and (table, column) in view.task.hidden_columns
    what = f"'{column}'"
    if hidden:
        bad = np.ones(len(cells), dtype=bool)
        yield from view.report(f'hidden column {what}', bad, rows)
    kind = CellType(int(view.kind[cells[0]]))
    if kind in (CellType.NUMBER, CellType.BOOLEAN):
        raw = view.raw.numbers(table, column)[index]
        missing = np.isnan(raw)
        mean, std = view.raw.scale(table, column)
        if kind == CellType.BOOLEAN and std == 1.0:  # Constant.
            mean = 0.5
        # The graph keeps numbers as float32.
        slack = 1.2e-7 * np.abs(raw) / std
        wrong = _differ(view.value[cells], _score(raw, mean, std), slack)
    elif kind == CellType.DATETIME:
        seconds = view.raw.datetimes(table, column)[index]
        missing = seconds == ALWAYS
        wrong = _differ_datetimes(view, cells, seconds)
    else:
        strings = view.raw.strings(table, column)[index]
        missing = np.array([string is None for string in strings], dtype=bool)
        wrong = view.value[cells] != 0
        if encoder is not None and kind != CellType.EMBEDDING:
            known = np.where(missing, '', strings)
            wrong |= _differ_strings(view, cells, known, encoder)
    yield from view.report(f'null as a cell {what}', missing, rows)
    yield from view.report(f'wrong value {what}', wrong & ~missing & seen, rows)


def _score(raw: NDArray[Any], mean: float, std: float) -> NDArray[Any]:
    return np.clip((raw - mean) / std, -_MAX_SCORE, _MAX_SCORE)


def _differ(
    value: NDArray[Any], expected: NDArray[Any], slack: Any = 0.0
) -> NDArray[np.bool_]:
    return ~(np.abs(value - expected) <= 1e-5 * (1 + np.abs(expected)) + slack)


def _differ_datetimes(
    view: 'ContextView', cells: NDArray[Any], seconds: NDArray[Any]
) -> NDArray[np.bool_]:
    mean, std = view.raw.datetime_scale()
    seed_time = view.seed_time[view.context[view.row[cells]]]
    days = (seconds - seed_time.astype(np.float64)) / _DAY
    relative = np.sign(days) * np.log1p(np.abs(days))
    wrong = _differ(view.value[cells], (seconds - mean) / std)
    return wrong | _differ(view.relative_time[cells], relative)


def _differ_strings(
    view: 'ContextView', cells: NDArray[Any], strings: Any, encoder: 'TextEncoder'
) -> NDArray[np.bool_]:
    unique, inverse = np.unique(strings.astype(str), return_inverse=True)
    expected = encoder.encode(unique.tolist())[torch.from_numpy(inverse)]
    index = view.cells.text_index[torch.from_numpy(cells)]
    given = view.cells.text_embedding[index]
    return (given - expected).abs().amax(dim=1).numpy() > 1e-5
