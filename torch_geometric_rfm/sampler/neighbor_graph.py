r"""Reads nodes, edges and times of a graph, wherever it is kept."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data, FeatureStore, GraphStore, HeteroData
from torch_geometric.data.remote_backend_utils import num_nodes as remote_num_nodes

from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.store_arrays import NEVER

# RelBench turns a missing time into int64's minimum in nanoseconds.
_RELBENCH_MISSING = MISSING_TIME // 1_000_000_000

GraphData: TypeAlias = Data | HeteroData | tuple[FeatureStore, GraphStore]


@dataclass
class NeighborGraph:
    r"""Nodes, edges and times as arrays; a homogeneous graph has the one type
    :obj:`None`.

    Args:
        num_nodes: Number of nodes by type.
        edge_index: :obj:`[2, E]` by edge type.
        node_time: Times of dated node types, :obj:`NEVER` where missing.
        edge_time: Times of dated edge types, likewise.
    """

    num_nodes: dict[Any, int]
    edge_index: dict[Any, NDArray[np.int64]]
    node_time: dict[Any, NDArray[np.int64]] = field(default_factory=dict)
    edge_time: dict[Any, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def is_hetero(self) -> bool:
        r"""Whether nodes and edges have types."""
        return None not in self.num_nodes


def read_graph(data: GraphData, time_attr: str | None = None) -> NeighborGraph:
    r"""Reads a graph.

    Args:
        data (Data, HeteroData or tuple): The graph, or its feature and graph
            store.
        time_attr (str, optional): The time of nodes, or of edges.
            (default: :obj:`None`)

    Raises:
        ValueError: If edges lead to nodes that do not exist, if nothing has a
            time of that name, or if a time does not fit its nodes or edges.
    """
    if isinstance(data, HeteroData):
        graph, times = _read_hetero(data, time_attr)
    elif isinstance(data, Data):
        graph, times = _read_homo(data, time_attr)
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        graph, times = _read_stores(data[0], data[1], time_attr)
    else:
        raise ValueError(
            f'data must be a Data, a HeteroData, or a tuple of a FeatureStore and a '
            f'GraphStore (got {type(data).__name__})'
        )
    _check_edges(graph)
    if time_attr is not None:
        _add_times(graph, times, time_attr)
    return graph


def _read_hetero(
    data: HeteroData, time_attr: str | None
) -> tuple[NeighborGraph, dict[Any, Any]]:
    num_nodes = {name: data[name].num_nodes for name in data.node_types}
    edge_index = {}
    for edge_type in data.edge_types:
        if data[edge_type].get('edge_index') is None:
            raise ValueError(f'edge type {edge_type} has no edge_index')
        edge_index[edge_type] = data[edge_type].edge_index
    times = {
        name: data[name][time_attr]
        for name in [*data.node_types, *data.edge_types]
        if time_attr is not None and time_attr in data[name]
    }
    return NeighborGraph(num_nodes, _to_numpy(edge_index)), times


def _read_homo(
    data: Data, time_attr: str | None
) -> tuple[NeighborGraph, dict[Any, Any]]:
    if data.edge_index is None and data.get('adj_t') is not None:
        raise ValueError('data has an adj_t and no edge_index; pass an edge_index')
    edge_index = data.edge_index
    edges = np.zeros((2, 0), np.int64) if edge_index is None else edge_index
    graph = NeighborGraph({None: data.num_nodes}, _to_numpy({None: edges}))
    if time_attr is None or time_attr not in data:
        return graph, {}
    # Where nodes and edges are equally many, PyG goes by the name of the attribute.
    on_edges = data.is_edge_attr(time_attr) and not data.is_node_attr(time_attr)
    return graph, {'edges' if on_edges else None: data[time_attr]}


def _read_stores(
    feature_store: FeatureStore, graph_store: GraphStore, time_attr: str | None
) -> tuple[NeighborGraph, dict[Any, Any]]:
    attrs = feature_store.get_all_tensor_attrs()
    edge_attrs = graph_store.get_all_edge_attrs()
    row, col, perm = graph_store.coo()
    num_nodes: dict[Any, int]
    if edge_attrs[0].edge_type is None:
        num_nodes = {None: max(edge_attrs[0].size)}
        row, col, perm = {None: row}, {None: col}, {None: perm}
    else:
        names = [name for kind in row for name in (kind[0], kind[2])]
        names += [a.group_name for a in attrs if isinstance(a.group_name, str)]
        num_nodes = {
            name: remote_num_nodes(feature_store, graph_store, name)
            for name in dict.fromkeys(names)
        }
    edge_index = _to_numpy({kind: (row[kind], col[kind]) for kind in row})
    times: dict[Any, Any] = {}
    for attr in attrs:
        if attr.attr_name != time_attr:
            continue
        attr.index = None
        key = attr.group_name if None not in num_nodes else None
        times[key] = feature_store.get_tensor(attr)
        if isinstance(key, tuple) and perm[key] is not None:
            times[key] = times[key][perm[key]]
    return NeighborGraph(num_nodes, edge_index), times


def _to_numpy(edge_index: dict[Any, Any]) -> dict[Any, NDArray[np.int64]]:
    out = {}
    for edge_type, pair in edge_index.items():
        row, col = (
            part.detach().cpu().numpy() if isinstance(part, Tensor) else part
            for part in pair
        )
        out[edge_type] = np.stack([row, col]).astype(np.int64, copy=False)
    return out


def _check_edges(graph: NeighborGraph) -> None:
    for edge_type, (row, col) in graph.edge_index.items():
        source, target = (None, None) if edge_type is None else edge_type[::2]
        for name, index in ((source, row), (target, col)):
            if name not in graph.num_nodes:
                raise ValueError(
                    f"edge type {edge_type} leads to node type '{name}', which the "
                    f'graph lacks (known are: {", ".join(graph.num_nodes)})'
                )
            num_nodes = graph.num_nodes[name]
            if index.size and not 0 <= index.min() <= index.max() < num_nodes:
                raise ValueError(
                    f'edge_index of {_name(edge_type)} leads outside '
                    f'{_name(name)} (got {index.min()} to {index.max()}, '
                    f'num_nodes={num_nodes})'
                )


def _add_times(graph: NeighborGraph, times: dict[Any, Any], time_attr: str) -> None:
    on_edges = [key for key in times if isinstance(key, tuple) or key == 'edges']
    if not times:
        raise ValueError(
            f"no node type and no edge type has the attribute '{time_attr}' (got "
            f"time_attr='{time_attr}'). Name one that holds times, or leave "
            f'time_attr out.'
        )
    if on_edges and len(on_edges) < len(times):
        raise ValueError(
            f"time_attr '{time_attr}' is an attribute of both nodes and edges; rename "
            f'one of them'
        )
    for key, time in times.items():
        if on_edges:
            key = None if key == 'edges' else key
            size = graph.edge_index[key].shape[1]
            graph.edge_time[key] = _checked_time(time, time_attr, key, size)
        else:
            size = graph.num_nodes[key]
            graph.node_time[key] = _checked_time(time, time_attr, key, size)


def _checked_time(time: Any, time_attr: str, key: Any, size: int) -> NDArray[np.int64]:
    array = time.detach().cpu().numpy() if isinstance(time, Tensor) else time
    array = np.asarray(array)
    if array.shape != (size,):
        raise ValueError(
            f"'{time_attr}' of {_name(key)} must have one time each, [{size}] (got "
            f'{list(array.shape)})'
        )
    if array.dtype.kind not in 'iu':
        raise ValueError(
            f"'{time_attr}' of {_name(key)} must hold integers, such as unix seconds "
            f'(got {array.dtype})'
        )
    array = array.astype(np.int64)
    missing = (array == MISSING_TIME) | (array == _RELBENCH_MISSING)
    return np.where(missing, NEVER, array)


def _name(key: Any) -> str:
    if key is None:
        return 'the graph'
    return f'edge type {key}' if isinstance(key, tuple) else f"node type '{key}'"
