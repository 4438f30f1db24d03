r"""The neighbours of every node by time, laid out for compiled code."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.store_arrays import index_type
from torch_geometric_rfm.sampler.neighbor_graph import NeighborGraph


class NeighborIndex(NamedTuple):
    r"""One time-sorted CSC an edge type; nodes of all types are numbered through."""

    node_start: NDArray[Any]  # [node types + 1] first node
    incoming_start: NDArray[Any]  # [node types + 1] into `incoming`
    incoming: NDArray[Any]  # edge types that lead to a node type
    ptr_start: NDArray[Any]  # [edge types] offset into `ptr`
    ptr: NDArray[Any]  # per edge type [target nodes + 1] into `neighbor`
    neighbor: NDArray[Any]  # [edges] source nodes, by target and time
    edge_id: NDArray[Any]  # [edges] position in the edge_index of its type
    dated: NDArray[Any]  # [edge types] whether its neighbours have times
    time: NDArray[Any]  # of nodes or of edges
    time_at: NDArray[Any]  # [edges] where in `time` the time of a neighbour is


def build_neighbor_index(graph: NeighborGraph) -> NeighborIndex:
    r"""Sorts the edges of a graph by target and time."""
    number = {name: i for i, name in enumerate(graph.num_nodes)}
    node_start = np.cumsum([0, *graph.num_nodes.values()]).astype(np.int64)
    sizes = [edges.shape[1] for edges in graph.edge_index.values()]
    edge_start = np.cumsum([0, *sizes]).astype(np.int64)
    dtype = index_type(int(max(node_start[-1], edge_start[-1])))
    incoming: list[list[int]] = [[] for _ in number]
    ptr: list[NDArray[Any]] = []
    ptr_start = [0]
    neighbor: NDArray[Any] = np.empty(edge_start[-1], dtype=dtype)
    edge_id: NDArray[Any] = np.empty(edge_start[-1], dtype=dtype)
    dated = np.zeros(len(sizes), dtype=np.bool_)
    for e, (edge_type, (row, col)) in enumerate(graph.edge_index.items()):
        source, target = (None, None) if edge_type is None else edge_type[::2]
        incoming[number[target]].append(e)
        time = graph.edge_time.get(edge_type)
        if time is None and source in graph.node_time:
            time = graph.node_time[source][row]
        dated[e] = time is not None
        if time is None:
            order = np.argsort(col, kind='stable')
        else:
            order = np.lexsort((time, col))
        here = slice(edge_start[e], edge_start[e + 1])
        neighbor[here] = row[order] + node_start[number[source]]
        edge_id[here] = order
        counts = np.bincount(col, minlength=graph.num_nodes[target])
        ptr.append(np.cumsum([edge_start[e], *counts]).astype(dtype))
        ptr_start.append(ptr_start[-1] + ptr[-1].size)
    if graph.edge_time:
        time = np.concatenate(
            [
                graph.edge_time.get(edge_type, np.zeros(size, dtype=np.int64))
                for edge_type, size in zip(graph.edge_index, sizes)
            ]
        )
        time_at = edge_id + np.repeat(edge_start[:-1], sizes).astype(dtype)
    else:
        time = node_times(graph)
        time_at = neighbor
    return NeighborIndex(
        node_start=node_start,
        incoming_start=np.cumsum([0, *map(len, incoming)]).astype(np.int64),
        incoming=np.array([e for es in incoming for e in es], dtype=np.int64),
        ptr_start=np.array(ptr_start[:-1], dtype=np.int64),
        ptr=np.concatenate([np.zeros(0, dtype=dtype), *ptr]),
        neighbor=neighbor,
        edge_id=edge_id,
        dated=dated,
        time=time,
        time_at=time_at,
    )


def node_times(graph: NeighborGraph) -> NDArray[np.int64]:
    r"""Times of all nodes; nothing where no node type is dated."""
    if not graph.node_time:
        return np.zeros(0, dtype=np.int64)
    times = [
        graph.node_time.get(name, np.zeros(size, dtype=np.int64))
        for name, size in graph.num_nodes.items()
    ]
    return np.concatenate(times)
