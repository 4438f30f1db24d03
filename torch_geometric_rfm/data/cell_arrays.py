from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.raw_table import MISSING_TIME, RawColumn, RawTable
from torch_geometric_rfm.data.statistics import mean_and_std, normalise
from torch_geometric_rfm.data.store_arrays import (
    KIND_BOOLEAN,
    KIND_DATETIME,
    KIND_NUMBER,
    KIND_STRING,
    kind_of,
)
from torch_geometric_rfm.data.vocabulary import Vocabulary

_BLOCKS = {
    KIND_NUMBER: ('number', np.float32),
    KIND_DATETIME: ('datetime', np.int64),
    KIND_STRING: ('string', np.int32),
}


def build_cell_arrays(
    tables: list[RawTable], cutoff: int | None, vocabulary: Vocabulary
) -> dict[str, NDArray[Any]]:
    r"""Normalised values of all tables in row-major blocks, by kind.

    Columns stand in alphabetical order, which every source of a graph shares.
    Statistics count rows of time at most :obj:`cutoff`, and undated tables.
    """
    kinds, slots, types, scales, column_start = [], [], [], [], [0]
    blocks: dict[int, list[NDArray[Any]]] = {kind: [] for kind in _BLOCKS}
    known_datetimes = [np.zeros(0)]
    for table in tables:
        counted = _counted_rows(table, cutoff)
        slices: dict[int, list[NDArray[Any]]] = {kind: [] for kind in _BLOCKS}
        for name, raw in sorted(table.columns.items()):
            kind = kind_of(raw.cell_type)
            block = slices[KIND_NUMBER if kind == KIND_BOOLEAN else kind]
            kinds.append(kind)
            types.append(int(raw.cell_type))
            slots.append(len(block))
            scales.append((0.0, 1.0))
            values: NDArray[Any]
            if kind == KIND_STRING:
                column = f'{name} of {table.name}'
                values = vocabulary.add(raw.values, raw.vocabulary, column)
            elif kind == KIND_DATETIME:
                values = raw.values
                known = values[counted]
                known_datetimes.append(known[known != MISSING_TIME])
            else:
                values, scales[-1] = _scale(raw, counted)
            block.append(values)
        column_start.append(len(kinds))
        for kind, columns in slices.items():
            empty = np.zeros((table.num_rows, 0))
            blocks[kind].append(np.stack(columns, axis=1) if columns else empty)
    arrays = {
        'column_start': np.array(column_start, dtype=np.int64),
        'column_kind': np.array(kinds, dtype=np.int64),
        'column_slot': np.array(slots, dtype=np.int64),
        'column_type': np.array(types, dtype=np.int64),
        'column_mean': np.array([mean for mean, _ in scales], dtype=np.float64),
        'column_std': np.array([std for _, std in scales], dtype=np.float64),
        'datetime_scale': np.array(mean_and_std(np.concatenate(known_datetimes))),
    }
    for kind, (name, dtype) in _BLOCKS.items():
        sizes = [block.size for block in blocks[kind]]
        widths = [block.shape[1] for block in blocks[kind]]
        arrays[f'{name}_start'] = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
        arrays[f'{name}_width'] = np.array(widths, dtype=np.int64)
        flat = np.concatenate([block.ravel() for block in blocks[kind]])
        arrays[f'{name}s'] = flat.astype(dtype)
    return arrays


def _counted_rows(table: RawTable, cutoff: int | None) -> NDArray[np.bool_]:
    if table.time is None:
        return np.ones(table.num_rows, dtype=bool)
    counted = table.time != MISSING_TIME
    return counted if cutoff is None else counted & (table.time <= cutoff)


def _scale(
    raw: RawColumn, counted: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    mean, std = mean_and_std(raw.values[counted])
    if kind_of(raw.cell_type) == KIND_BOOLEAN:
        if std == 1.0:  # Constant, as no other column of 0 and 1 varies that much.
            mean = 0.5  # The sign of a score tells the two values apart.
        # Kept as 0 and 1, scaled on the way out: a constant column has one score.
        return raw.values.astype(np.float32), (mean, std)
    return normalise(raw.values, mean, std).astype(np.float32), (mean, std)
