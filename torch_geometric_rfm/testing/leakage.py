from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.testing.cell_contents import wrong_cells
from torch_geometric_rfm.testing.raw_database import (
    NEVER,
    RawDatabase,
    mean_and_std,
    to_seconds,
)

if TYPE_CHECKING:
    from relbench.base import Database

    from torch_geometric_rfm.data.text_encoder import TextEncoder


def find_violations(
    cells: CellData,
    db: 'Database | RawDatabase',
    task: Task | None = None,
    protocol: str = 'rolling',
    *,
    strict: bool = False,
    num_cells: int | None = None,
    cutoff: Any = None,
    text_encoder: 'TextEncoder | None' = None,
    col_to_stype: dict[str, dict[str, str | None]] | None = None,
) -> list[str]:
    r"""What in some contexts should not be there, judged by the raw tables.

    Rows are dated up to what their context may look at, labels over by then
    and never the one asked for, hidden columns absent, statistics from before
    the cutoff, values, links and strings those of the data frames, and nothing
    is there twice.

    Args:
        cells (CellData): A batch of contexts.
        db (relbench.base.Database or RawDatabase): The database. Pass a
            :class:`~torch_geometric_rfm.testing.RawDatabase` to check many
            batches; it then brings :obj:`cutoff` and :obj:`col_to_stype`.
        task (Task, optional): The task of the contexts. (default: :obj:`None`)
        protocol (str): The protocol that they promise.
            (default: :obj:`"rolling"`)
        strict (bool): Whether rows of just the time are excluded.
            (default: :obj:`False`)
        num_cells (int, optional): Cells of a context at most.
            (default: :obj:`None`)
        cutoff (pd.Timestamp, optional): The last time that statistics count.
            (default: :obj:`None`)
        text_encoder (TextEncoder, optional): To compare embeddings of strings.
            (default: :obj:`None`)
        col_to_stype (dict, optional): Names of the cell types given to
            :func:`~torch_geometric_rfm.data.to_hetero`.
            (default: :obj:`None`)

    Returns:
        A sentence for each violation; its first words name the rule.

    Example:
        >>> from torch_geometric_rfm.loader import ContextLoader
        >>> from torch_geometric_rfm.testing import toy_database, toy_task_store
        >>> store = toy_task_store()
        >>> cells = next(iter(ContextLoader(store, num_cells=32)))
        >>> cutoff = store.task.cutoffs['train']
        >>> find_violations(cells, toy_database(), store.task, cutoff=cutoff)
        []
    """
    if not isinstance(db, RawDatabase):
        db = RawDatabase(db, cutoff, col_to_stype)
    view = ContextView(cells, db, task)
    return [
        *_future_rows(view, strict),
        *_repeated(view),
        *_wrong_links(view),
        *wrong_cells(view, strict, text_encoder),
        *(_wrong_seeds(view, protocol) if task is not None else []),
        *_too_large(view, num_cells),
    ]


class ContextView:
    r"""The arrays of a batch of contexts, beside the raw tables."""

    def __init__(self, cells: CellData, raw: RawDatabase, task: Task | None) -> None:
        self.cells, self.raw, self.task = cells, raw, task
        for name in ('row', 'column', 'value', 'relative_time', 'mask', 'target'):
            setattr(self, name, cells[name].numpy())
        shown = cells.get('shown_mask')
        self.shown = np.zeros_like(self.mask) if shown is None else shown.numpy()
        self.kind = cells.cell_type.numpy()
        self.table = cells.row_table.numpy()
        self.index = cells.row_index.numpy()
        self.seed_row = cells.seed_row.numpy()
        self.seed_time = cells.seed_time.numpy()
        self.until = cells.visible_until.numpy()
        self.table_names: list[str] = cells.table_names
        rows = np.arange(cells.num_rows)
        self.context = np.searchsorted(self.seed_row, rows, side='right') - 1
        self.is_seed = np.isin(rows, self.seed_row)
        if task is not None:
            frame = task.frame
            self.label_time = to_seconds(frame['time'])
            self.label = frame['label'].to_numpy(dtype=np.float64)
            self.label_scale = mean_and_std(
                self.label[(frame['split'] == 'train').to_numpy()]
            )

    row: NDArray[Any]
    column: NDArray[Any]
    value: NDArray[Any]
    relative_time: NDArray[Any]
    mask: NDArray[Any]
    shown: NDArray[Any]
    target: NDArray[Any]

    def is_label_table(self, number: int) -> bool:
        r"""Whether a table is the task table, which stands behind all others."""
        return self.task is not None and number == len(self.table_names) - 1

    def where(self, row: int) -> str:
        r"""A row, for messages."""
        table = self.table_names[self.table[row]]
        context = self.context[row]
        return f"row {self.index[row]} of '{table}' in context {context}"

    def report(self, rule: str, bad: NDArray[Any], rows: NDArray[Any]) -> Iterator[str]:
        r"""A message for each bad entry, each in one of the rows."""
        for row in rows[bad]:
            yield f'{rule}: {self.where(row)}'


def _future_rows(view: ContextView, strict: bool) -> Iterator[str]:
    for number in np.unique(view.table):
        rows = np.flatnonzero(view.table == number)
        until = view.until[view.context[rows]]
        if view.is_label_table(number):
            assert view.task is not None
            time = view.label_time[view.index[rows]]
            horizon = view.task.horizon.total_seconds()
            known = (time < until) & (time + horizon <= until)
            known &= ~np.isnan(view.label[view.index[rows]])
            yield from view.report('unknown label', ~known & ~view.is_seed[rows], rows)
        else:
            time = view.raw.time(view.table_names[number])[view.index[rows]]
            late = (time >= until) if strict else (time > until)
            late |= time == NEVER
            yield from view.report('future row', late, rows)
        wrong = view.cells.row_time.numpy()[rows] != time
        yield from view.report('wrong row time', wrong, rows)


def _repeated(view: ContextView) -> Iterator[str]:
    keys = np.stack([view.context, view.table, view.index])
    rows = np.arange(keys.shape[1])
    yield from view.report('repeated row', _duplicates(keys), rows)
    keys = np.stack([view.row, view.column])
    yield from view.report('repeated cell', _duplicates(keys), view.row)


def _duplicates(keys: NDArray[Any]) -> NDArray[np.bool_]:
    _, first = np.unique(keys, axis=1, return_index=True)
    out = np.ones(keys.shape[1], dtype=bool)
    out[first] = False
    return out


def _wrong_links(view: ContextView) -> Iterator[str]:
    child, parent = view.cells.fkey_index.numpy()
    fkey_type = view.cells.fkey_type.numpy()
    place = {
        key: row
        for row, key in enumerate(
            zip(view.context.tolist(), view.table.tolist(), view.index.tolist())
        )
    }
    for number, fkey_name in enumerate(view.cells.fkey_names):
        table, parent_table, position = _key(view, number, fkey_name)
        rows = np.flatnonzero(view.table == table)
        expected = set()
        for row, at in zip(rows.tolist(), position(view.index[rows]).tolist()):
            target = place.get((int(view.context[row]), parent_table, at))
            if target is not None:
                expected.add((row, target))
        links = list(zip(*(x[fkey_type == number].tolist() for x in (child, parent))))
        for link in sorted(set(links) - expected):
            yield f"wrong link: '{fkey_name}' of {view.where(link[0])}"
        for link in sorted(expected - set(links)):
            yield f"missing link: '{fkey_name}' of {view.where(link[0])}"
        if len(links) != len(set(links)):
            yield f"repeated link: '{fkey_name}'"


def _key(
    view: ContextView, number: int, fkey_name: str
) -> tuple[int, int, Callable[[NDArray[Any]], NDArray[Any]]]:
    if view.task is not None and number == len(view.cells.fkey_names) - 1:
        entity = view.task.frame['entity'].to_numpy()
        parent = view.table_names.index(view.task.entity_table)
        return len(view.table_names) - 1, parent, lambda index: entity[index]
    tables = [t for t in view.raw.tables if fkey_name.startswith(f'{t}.')]
    table = max(tables, key=len)
    fkey = fkey_name[len(table) + 1 :]
    parent_name = view.raw.tables[table].fkey_col_to_pkey_table[fkey]
    position = view.raw.parent(table, fkey)
    names = view.table_names
    return names.index(table), names.index(parent_name), lambda index: position[index]


def _wrong_seeds(view: ContextView, protocol: str) -> Iterator[str]:
    assert view.task is not None
    rows, task = view.seed_row, view.task
    label_table = len(view.table_names) - 1
    stray = view.table[rows] != label_table
    yield from view.report('seed not of the task', stray, rows)
    index = view.index[rows]
    until = view.label_time[index].copy()
    yield from view.report('wrong seed time', until != view.seed_time, rows)
    if protocol == 'frozen':
        split = task.frame['split'].to_numpy()[index]
        for name, cutoff in task.cutoffs.items():
            limit = int(cutoff.timestamp())
            until = np.where(split == name, np.minimum(until, limit), until)
    yield from view.report('looks too far', view.until > until, rows)
    first = np.searchsorted(view.row, rows)
    label = f'{task.target_col} of {task.name}'
    label_column = view.cells.column_names.index(label)
    shown = (view.row[first] != rows) | (view.column[first] != label_column)
    shown |= ~view.mask[first] | (view.value[first] != 0)
    yield from view.report('visible seed label', shown, rows)
    truth = view.label[index]
    if task.cell_type != CellType.BOOLEAN:
        mean, std = view.label_scale
        truth = np.clip((truth - mean) / std, -1e4, 1e4)
    right = np.isclose(view.target[first], truth, 1e-4, 1e-4, equal_nan=True)
    yield from view.report('wrong target', ~right, rows)


def _too_large(view: ContextView, num_cells: int | None) -> Iterator[str]:
    sizes = np.bincount(view.context[view.row], minlength=len(view.seed_row))
    if num_cells is not None:
        for context in np.flatnonzero(sizes > num_cells):
            yield f'too many cells: {sizes[context]} in context {context}'
    if view.cells.get('ptr') is not None:
        ptr = np.concatenate([[0], np.cumsum(sizes)])
        if not np.array_equal(ptr, view.cells.ptr.numpy()):
            yield 'wrong ptr: it does not count the cells of the contexts'
