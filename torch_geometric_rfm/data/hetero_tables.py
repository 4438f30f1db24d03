r"""Reads the tables of a heterogeneous graph, wherever it comes from."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data.stats import StatType
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.columns import to_raw_column, to_unix_seconds
from torch_geometric_rfm.data.frame_time import frame_to_seconds
from torch_geometric_rfm.data.raw_table import MISSING_TIME, RawColumn, RawTable

if TYPE_CHECKING:
    from relbench.base import Database

# RelBench turns a missing time into int64's minimum in nanoseconds.
_NAT_SECONDS = np.iinfo(np.int64).min // 1_000_000_000


def read_tables(
    data: HeteroData,
    col_stats: dict[str, dict[str, dict[StatType, Any]]] | None = None,
    db: 'Database | None' = None,
    cell_types: dict[str, dict[str, str]] | None = None,
    time_attr: str = 'time',
) -> list[RawTable]:
    r"""Tables of a graph: one per node type, and one per link table.

    See :meth:`torch_geometric_rfm.data.CellStore.from_hetero` for the
    arguments.
    """
    unknown = set(cell_types or {}) - set(data.node_types)
    if unknown:
        raise ValueError(
            f'cell_types names an unknown table (got {sorted(unknown)}, known are: '
            f'{", ".join(data.node_types)})'
        )
    tables = {}
    for name in data.node_types:
        store = data[name]
        num_rows = store.num_nodes
        if not num_rows:
            raise ValueError(
                f"node type '{name}' has no rows (got num_nodes={num_rows})"
            )
        source = db.table_dict[name] if db is not None else None
        frame = source.df if source is not None else None
        time = _read_time(store.get(time_attr), name, num_rows)
        if time is not None and source is not None and source.time_col is not None:
            time, _ = to_unix_seconds(source.df[source.time_col])
        table = RawTable(name, num_rows, time)
        declared = dict(store.get('cell_types') or {})
        declared.update((cell_types or {}).get(name, {}))
        if isinstance(store.get('tf'), TensorFrame):
            stats = (col_stats or {}).get(name, {})
            table.columns = _read_frame(store.tf, stats, declared, frame, name)
            table.time = _in_seconds(table)
        elif isinstance(store.get('x'), Tensor):
            table.columns = _read_features(store, name)
        tables[name] = table
    _read_edges(data, tables, time_attr)
    return list(tables.values())


def _read_time(time: Any, name: str, num_rows: int) -> np.ndarray | None:
    if time is None:
        return None
    if not isinstance(time, Tensor) or time.dim() != 1 or time.numel() != num_rows:
        raise ValueError(
            f"the time of node type '{name}' must be a tensor of shape [{num_rows}] "
            f'(got {list(time.shape) if isinstance(time, Tensor) else type(time)})'
        )
    seconds = time.detach().cpu().numpy().astype(np.int64)
    return np.where(seconds <= _NAT_SECONDS, MISSING_TIME, seconds)


def _in_seconds(table: RawTable) -> np.ndarray | None:
    # RelBench 3.0 takes datetimes of any resolution for nanoseconds: those in
    # microseconds, the default of pandas 3, become a thousandth of their seconds,
    # and all rows seem to be of 1970. The column itself still knows.
    time = table.time
    if time is None:
        return None
    known = time != MISSING_TIME
    for column in table.columns.values():
        if column.cell_type != CellType.DATETIME or not known.any():
            continue
        if not np.array_equal(column.values != MISSING_TIME, known):
            continue
        seconds, given = column.values[known], time[known]
        if np.array_equal(seconds, given):
            return time
        for factor in (1_000, 1_000_000, 1_000_000_000):
            if np.array_equal(seconds // factor, given):
                return column.values
    return time


def _read_frame(
    tf: TensorFrame,
    stats: dict[str, dict[StatType, Any]],
    declared: dict[str, str],
    frame: Any,
    table: str,
) -> dict[str, RawColumn]:
    columns = {}
    for kind, names in tf.col_names_dict.items():
        feature = tf.feat_dict[kind]
        for i, name in enumerate(names):
            if name == '__const__':
                continue
            where = f"column '{name}' of table '{table}'"
            if kind == stype.numerical:
                values = feature[:, i].double().numpy().copy()
                values[np.isinf(values)] = np.nan
                raw = RawColumn(CellType.NUMBER, values)
            elif kind == stype.timestamp:
                raw = RawColumn(CellType.DATETIME, frame_to_seconds(feature[:, i]))
            elif kind == stype.categorical:
                if StatType.COUNT not in stats.get(name, {}):
                    raise ValueError(
                        f'{where} is categorical, and its strings are in col_stats '
                        f'alone: pass the col_stats that came with the graph.'
                    )
                raw = _read_categories(
                    feature[:, i].numpy(), stats[name][StatType.COUNT][0]
                )
                if raw.cell_type.is_string and declared.get(name) == 'text':
                    raw.cell_type = CellType.TEXT
            elif kind == stype.embedding:
                raw = _read_embedding(feature[:, i], name, frame, table)
            else:
                raise ValueError(
                    f'{where} has stype {kind.value!r}, which is not tokenised. Leave '
                    f'it out of the graph or embed it beforehand (stype.embedding).'
                )
            columns[name] = raw
    return columns


def _read_categories(codes: np.ndarray, vocabulary: list[Any]) -> RawColumn:
    if vocabulary and all(isinstance(v, (bool, np.bool_)) for v in vocabulary):
        lookup = np.array([*map(float, vocabulary), np.nan])
        return RawColumn(CellType.BOOLEAN, lookup[codes])
    strings = [str(value) for value in vocabulary]
    return RawColumn(CellType.CATEGORY, codes.astype(np.int32), strings)


def _read_embedding(feature: Any, name: str, frame: Any, table: str) -> RawColumn:
    if frame is not None and name in frame:
        # Frame embeds a null as the string of it: only the database knows.
        raw, _ = to_raw_column(frame[name], CellType.TEXT, table)
        return raw
    vectors = feature.values if hasattr(feature, 'values') else feature
    vectors = vectors.reshape(vectors.size(0), -1).float()
    unique, codes = torch.unique(vectors, dim=0, return_inverse=True)
    return RawColumn(CellType.EMBEDDING, codes.numpy().astype(np.int32), unique.numpy())


def _read_features(store: Any, table: str) -> dict[str, RawColumn]:
    x = store.x.detach().cpu().double().numpy()
    x = x.reshape(len(x), -1)
    names = store.get('feature_names') or [f'x_{i}' for i in range(x.shape[1])]
    if len(names) != x.shape[1]:
        raise ValueError(
            f"feature_names of node type '{table}' must name {x.shape[1]} columns (got "
            f'{len(names)})'
        )
    x[np.isinf(x)] = np.nan
    return {n: RawColumn(CellType.NUMBER, x[:, i]) for i, n in enumerate(names)}


def _read_edges(data: HeteroData, tables: dict[str, RawTable], time_attr: str) -> None:
    for edge_type in data.edge_types:
        source, relation, target = edge_type
        reverse = (target, relation[4:], source)
        if relation.startswith('rev_') and reverse in data.edge_types:
            continue
        store = data[edge_type]
        child, parent = store.edge_index.cpu().numpy()
        for name, index in ((source, child), (target, parent)):
            if (
                index.size
                and not 0 <= index.min() <= index.max() < tables[name].num_rows
            ):
                raise ValueError(
                    f"edge_index of {edge_type} points outside node type '{name}' "
                    f'(got {index.max()}, num_nodes={tables[name].num_rows})'
                )
        functional = np.unique(child).size == child.size
        if functional and store.get('edge_attr') is None:
            position = np.full(tables[source].num_rows, -1, dtype=np.int64)
            position[child] = parent
            fkey = relation.removeprefix('f2p_')
            if fkey in tables[source].parents:  # One relation to several node types.
                fkey = f'{fkey}_{target}'
            tables[source].parents[fkey] = (target, position)
        else:
            link = _link_table(store, edge_type, child, parent, time_attr)
            if link.num_rows:
                tables[link.name] = link


def _link_table(
    store: Any,
    edge_type: EdgeType,
    child: np.ndarray,
    parent: np.ndarray,
    time_attr: str,
) -> RawTable:
    source, relation, target = edge_type
    name = '__'.join(edge_type)
    time = store.get(time_attr)
    link = RawTable(name, child.size, _read_time(time, name, child.size))
    keys = (f'{source}_id', f'{target}_id')
    if source == target:
        keys = (f'{source}_source_id', f'{target}_target_id')
    link.parents[keys[0]] = (source, child.astype(np.int64))
    link.parents[keys[1]] = (target, parent.astype(np.int64))
    if isinstance(store.get('edge_attr'), Tensor):
        attr = store.edge_attr.detach().cpu().double().numpy().reshape(child.size, -1)
        for i in range(attr.shape[1]):
            values = np.where(np.isinf(attr[:, i]), np.nan, attr[:, i])
            column = f'{relation}_{i}' if attr.shape[1] > 1 else relation
            link.columns[column] = RawColumn(CellType.NUMBER, values)
    return link
