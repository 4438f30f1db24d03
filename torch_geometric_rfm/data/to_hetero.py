from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch_frame import TensorFrame, stype
from torch_frame.data.stats import StatType
from torch_geometric.data import HeteroData

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.columns import (
    infer_cell_type,
    to_raw_column,
    to_unix_seconds,
)
from torch_geometric_rfm.data.frame_stats import number_stats, timestamp_stats
from torch_geometric_rfm.data.frame_time import seconds_to_frame
from torch_geometric_rfm.data.keys import foreign_key_positions, primary_key_index
from torch_geometric_rfm.data.raw_table import MISSING_TIME, RawColumn

if TYPE_CHECKING:
    from relbench.base import Database, Table

ColumnStats = dict[str, dict[str, dict[StatType, Any]]]

_CELL_TYPE_OF_STYPE = {
    stype.numerical: CellType.NUMBER,
    stype.categorical: CellType.CATEGORY,
    stype.text_embedded: CellType.TEXT,
    stype.text_tokenized: CellType.TEXT,
    stype.timestamp: CellType.DATETIME,
}


def to_hetero(
    db: 'Database',
    col_to_stype: dict[str, dict[str, Any]] | None = None,
    cutoff: Any = None,
) -> tuple[HeteroData, ColumnStats]:
    r"""Turns a relational database into a heterogeneous graph.

    Node types are tables, with a :class:`torch_frame.TensorFrame` in
    :obj:`tf`, unix seconds in :obj:`time`, and edges
    :obj:`(child, 'f2p_<fkey>', parent)` with their :obj:`'rev_f2p_<fkey>'`,
    as :func:`relbench.modeling.graph.make_pkey_fkey_graph` lays them out.
    Strings, open text included, are indices into the vocabulary that
    :obj:`StatType.COUNT` of their column holds, so that each is kept once.
    :obj:`cell_types` of a node type names the cell type of each column, and
    :obj:`anomalies` counts what was null, infinite, out of range or dangling.

    Args:
        db (relbench.base.Database): The database.
        col_to_stype (dict, optional): For a table and column the
            :class:`torch_frame.stype`, the name of a
            :class:`~torch_geometric_rfm.data.CellType`, or :obj:`None` to
            leave the column out. What is not named is inferred: numeric
            columns are numbers. (default: :obj:`None`)
        cutoff (pd.Timestamp, optional): Column statistics count only rows up
            to this time; rows of undated tables always count.
            (default: :obj:`None`)

    Returns:
        The graph and the column statistics by table and column.

    Raises:
        ValueError: If a table is empty, a primary key null or duplicate, a
            foreign key leads to a missing table, a column holds what is not
            tokenised, or :obj:`col_to_stype` names an unknown table or column.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> data, col_stats = to_hetero(toy_database())
        >>> data['orders', 'f2p_customer_id', 'customers'].num_edges
        200
    """
    overrides = _checked_overrides(db, col_to_stype or {})
    cutoff_seconds = None if cutoff is None else int(pd.Timestamp(cutoff).timestamp())
    key_index = {
        name: primary_key_index(table, name) for name, table in db.table_dict.items()
    }
    data = HeteroData()
    col_stats: ColumnStats = {}
    for name, table in db.table_dict.items():
        store = data[name]
        anomalies: dict[str, dict[str, int]] = {}
        time = None
        if table.time_col is not None:
            if table.time_col not in table.df:
                raise ValueError(
                    f"time column '{table.time_col}' of table '{name}' does not exist "
                    f'(columns are: {", ".join(map(str, table.df.columns))})'
                )
            time, out_of_range = to_unix_seconds(table.df[table.time_col])
            anomalies[table.time_col] = {'date out of range': out_of_range}
            store.time = torch.from_numpy(time)
        columns = _read_columns(table, name, overrides.get(name, {}), anomalies)
        counted = np.ones(len(table.df), dtype=bool)
        if time is not None and cutoff_seconds is not None:
            counted = (time <= cutoff_seconds) & (time != MISSING_TIME)
        store.tf, col_stats[name] = _to_tensor_frame(columns, counted)
        store.cell_types = {
            column: raw.cell_type.name.lower() for column, raw in columns.items()
        }
        for fkey, parent in table.fkey_col_to_pkey_table.items():
            position, counts = foreign_key_positions(table, name, fkey, key_index)
            anomalies[fkey] = counts
            child = np.flatnonzero(position >= 0)
            edge_index = torch.from_numpy(np.stack([child, position[child]]))
            data[name, f'f2p_{fkey}', parent].edge_index = edge_index
            order = torch.argsort(edge_index[1], stable=True)
            reverse = edge_index.flip(0)[:, order]
            data[parent, f'rev_f2p_{fkey}', name].edge_index = reverse
        store.anomalies = {
            column: {kind: n for kind, n in counts.items() if n}
            for column, counts in anomalies.items()
        }
    return data, col_stats


def _checked_overrides(
    db: 'Database', col_to_stype: dict[str, dict[str, Any]]
) -> dict[str, dict[str, CellType | None]]:
    overrides: dict[str, dict[str, CellType | None]] = {}
    for table, columns in col_to_stype.items():
        if table not in db.table_dict:
            raise ValueError(
                f"col_to_stype names an unknown table (got '{table}', known are: "
                f'{", ".join(db.table_dict)})'
            )
        known = db.table_dict[table].df.columns
        for column, kind in columns.items():
            if column not in known:
                raise ValueError(
                    f"col_to_stype names an unknown column of table '{table}' (got "
                    f"'{column}', known are: {', '.join(map(str, known))})"
                )
            overrides.setdefault(table, {})[column] = _to_cell_type(kind, table, column)
    return overrides


def _to_cell_type(kind: Any, table: str, column: str) -> CellType | None:
    if kind is None or isinstance(kind, CellType):
        return kind
    if isinstance(kind, str) and kind.upper() in CellType.__members__:
        return CellType.from_name(kind)
    frame_stype = stype(kind) if isinstance(kind, str) else kind
    if frame_stype not in _CELL_TYPE_OF_STYPE:
        raise ValueError(
            f"column '{column}' of table '{table}' has stype '{frame_stype.value}', "
            f'which is not tokenised. Use one of '
            f'{", ".join(s.value for s in _CELL_TYPE_OF_STYPE)}, or None to leave it '
            f'out.'
        )
    return _CELL_TYPE_OF_STYPE[frame_stype]


def _read_columns(
    table: 'Table',
    name: str,
    overrides: dict[str, CellType | None],
    anomalies: dict[str, dict[str, int]],
) -> dict[str, RawColumn]:
    keys = {table.pkey_col, *table.fkey_col_to_pkey_table}
    columns = {}
    for column in table.df.columns:
        if column in keys:
            continue
        series = table.df[column]
        cell_type = (
            overrides[column] if column in overrides else infer_cell_type(series, name)
        )
        if cell_type is None:
            continue
        raw, counts = to_raw_column(series, cell_type, name)
        columns[str(column)] = raw
        anomalies[str(column)] = {**anomalies.get(str(column), {}), **counts}
    return columns


def _to_tensor_frame(
    columns: dict[str, RawColumn], counted: np.ndarray
) -> tuple[TensorFrame, dict[str, dict[StatType, Any]]]:
    features: dict[stype, list[torch.Tensor]] = {}
    names: dict[stype, list[str]] = {}
    stats: dict[str, dict[StatType, Any]] = {}
    for name, raw in columns.items():
        frame_stype, feature, stats[name] = _to_frame_column(raw, counted)
        features.setdefault(frame_stype, []).append(feature)
        names.setdefault(frame_stype, []).append(name)
    if not features:  # PyG's loaders and encoders need a column in every table.
        features[stype.numerical] = [torch.ones(counted.size)]
        names[stype.numerical] = ['__const__']
        stats['__const__'] = number_stats(np.ones(1))
    stacked = {key: torch.stack(value, dim=1) for key, value in features.items()}
    return TensorFrame(stacked, names), stats


def _to_frame_column(
    raw: RawColumn, counted: np.ndarray
) -> tuple[stype, torch.Tensor, dict[StatType, Any]]:
    known = raw.values[counted]
    if raw.cell_type == CellType.DATETIME:
        known = known[known != MISSING_TIME]
        return stype.timestamp, seconds_to_frame(raw.values), timestamp_stats(known)
    if raw.cell_type == CellType.NUMBER:
        feature = torch.from_numpy(raw.values.astype(np.float32))
        return stype.numerical, feature, number_stats(known)
    if raw.cell_type == CellType.BOOLEAN:
        vocabulary: list[Any] = [False, True]
        codes = np.where(np.isnan(raw.values), -1, raw.values).astype(np.int64)
    else:
        vocabulary, codes = raw.vocabulary, raw.values.astype(np.int64)
    counts = np.bincount(codes[counted & (codes >= 0)], minlength=len(vocabulary))
    stats = {StatType.COUNT: (vocabulary, counts.tolist())}
    return stype.categorical, torch.from_numpy(codes), stats
