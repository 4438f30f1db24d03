from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)

from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.store_arrays import NEVER
from torch_geometric_rfm.sampler.neighbor_graph import GraphData, read_graph
from torch_geometric_rfm.sampler.neighbor_index import build_neighbor_index
from torch_geometric_rfm.sampler.neighbor_kernels import sample_subgraph
from torch_geometric_rfm.sampler.num_neighbors import num_neighbors_matrix


class TemporalNeighborSampler(BaseSampler):
    r"""Samples neighbours of seed nodes, hop by hop, as
    :class:`torch_geometric.sampler.NeighborSampler` does, without further
    libraries.

    For each edge type that leads to a node, at most :obj:`num_neighbors` of
    its source nodes are taken; only nodes that are new in a hop are expanded
    in the next. With :obj:`time_attr`, each seed has a subgraph of its own, and
    a source node (or an edge, if edges have the times) is admitted only if its
    time is at most that of the seed. Types without the attribute are always
    admitted; where a dated type has a missing time (the least :obj:`int64`, or
    RelBench's -9223372037), never. Times may be of any unit and before 1970.

    Neighbours are sorted by time once; a batch then costs in proportion to its
    subgraph, however large the graph and its hubs are. Draws depend on
    :obj:`seed`, the epoch and the :obj:`input_id` of the seeds alone.

    Args:
        data (Data, HeteroData or tuple): The graph, or its feature and graph
            store.
        num_neighbors (list or dict): For each hop the number of neighbours, of
            all edge types alike or by edge type; 0 takes none, -1 all.
        subgraph_type (str): :obj:`"directional"` holds the edges that were
            sampled, :obj:`"bidirectional"` also their reverses.
            (default: :obj:`"directional"`)
        replace (bool): Whether to draw with replacement.
            (default: :obj:`False`)
        disjoint (bool): Whether each seed has a subgraph of its own; always so
            with :obj:`time_attr`. (default: :obj:`False`)
        temporal_strategy (str): :obj:`"uniform"` draws any of the admitted
            neighbours, :obj:`"last"` takes the latest. Neighbours without
            times are drawn uniformly. (default: :obj:`"uniform"`)
        time_attr (str, optional): The integer times of nodes, or of edges.
            (default: :obj:`None`)
        seed (int): Seed of the random streams. (default: :obj:`0`)

    Raises:
        ValueError: If an argument does not fit the graph.
        NotImplementedError: If :obj:`subgraph_type` is :obj:`"induced"`.

    Example:
        >>> from torch_geometric.data import Data
        >>> edge_index = torch.tensor([[1, 2, 3], [0, 0, 0]])
        >>> data = Data(edge_index=edge_index, num_nodes=4)
        >>> data.time = torch.tensor([5, 4, 6, 3])
        >>> sampler = TemporalNeighborSampler(data, [2], time_attr='time')
        >>> out = sampler.sample_from_nodes(
        ...     NodeSamplerInput(torch.tensor([0]), torch.tensor([0]))
        ... )
        >>> sorted(out.node.tolist())
        [0, 1, 3]
    """

    def __init__(
        self,
        data: GraphData,
        num_neighbors: Any,
        subgraph_type: Any = 'directional',
        replace: bool = False,
        disjoint: bool = False,
        temporal_strategy: str = 'uniform',
        time_attr: str | None = None,
        seed: int = 0,
    ) -> None:
        self.subgraph_type = getattr(subgraph_type, 'value', subgraph_type)
        if self.subgraph_type == 'induced':
            raise NotImplementedError(
                "subgraph_type 'induced' is not supported; use 'directional' or "
                "'bidirectional'"
            )
        if self.subgraph_type not in ('directional', 'bidirectional'):
            raise ValueError(
                f"subgraph_type must be 'directional' or 'bidirectional' (got "
                f'{subgraph_type!r})'
            )
        if temporal_strategy not in ('uniform', 'last'):
            raise ValueError(
                f"temporal_strategy must be 'uniform' or 'last' (got "
                f'{temporal_strategy!r})'
            )
        if temporal_strategy == 'last' and time_attr is None:
            raise ValueError(
                "temporal_strategy='last' needs times: name them by time_attr (got "
                'time_attr=None)'
            )
        graph = read_graph(data, time_attr)
        self.node_types = list(graph.num_nodes)
        self.edge_types = list(graph.edge_index)
        self.num_nodes = graph.num_nodes
        self.is_hetero = graph.is_hetero
        self.is_temporal = time_attr is not None
        self.time_attr = time_attr
        self.node_time = graph.node_time
        self.num_neighbors = num_neighbors_matrix(num_neighbors, self.edge_types)
        self.replace = replace
        self.disjoint = disjoint or self.is_temporal
        self.temporal_strategy = temporal_strategy
        self.seed = seed
        self._index = build_neighbor_index(graph)

    def sample_from_nodes(
        self, inputs: NodeSamplerInput, epoch: Any = 0
    ) -> SamplerOutput | HeteroSamplerOutput:
        r"""Samples the neighbourhood of seed nodes.

        Args:
            inputs (NodeSamplerInput): The seeds. Without :obj:`input_id` the
                positions in the batch stand in; without :obj:`time`, a seed
                has the time of its node.
            epoch (int or np.ndarray): The epoch, of all or of each.
                (default: :obj:`0`)

        Raises:
            ValueError: If seeds do not exist, or are later than their times.
        """
        node, time = self.check_inputs(inputs)
        keys = np.empty((len(node), 3), dtype=np.int64)
        keys[:, 0], keys[:, 1], keys[:, 2] = self.seed, epoch, np.arange(len(node))
        if inputs.input_id is not None:
            keys[:, 2] = inputs.input_id.numpy()
        first = self._index.node_start[self.node_types.index(inputs.input_type)]
        until = np.zeros(len(node), dtype=np.int64) if time is None else time
        out = self._to_output(
            sample_subgraph(
                self._index,
                self.num_neighbors,
                self.replace,
                self.temporal_strategy == 'last',
                self.disjoint,
                node + first,
                np.minimum(until, NEVER - 1),
                keys,
            )
        )
        if self.subgraph_type == 'bidirectional':
            out = out.to_bidirectional()
        seed_time = None if time is None else torch.from_numpy(time)
        out.metadata = (inputs.input_id, seed_time)
        return out

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput | HeteroSamplerOutput:
        r"""Not supported."""
        raise NotImplementedError(
            f'{type(self).__name__} samples from nodes; sampling from edges is not '
            f'supported'
        )

    def check_inputs(
        self, inputs: NodeSamplerInput
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        r"""Checks seeds, and gives their nodes and times.

        Raises:
            ValueError: If seeds do not exist, have no time or one too many, or
                are later than their times.
        """
        kind = inputs.input_type
        if kind not in self.num_nodes:
            raise ValueError(
                f'input_nodes must name a node type of the graph (got {kind!r}, known '
                f'are: {", ".join(map(str, self.node_types))})'
            )
        node = _to_integers(inputs.node, 'input_nodes')
        if node.size and not 0 <= node.min() <= node.max() < self.num_nodes[kind]:
            raise ValueError(
                f'input_nodes must lie in [0, {self.num_nodes[kind]}) (got '
                f'{node.min()} to {node.max()})'
            )
        if not self.is_temporal:
            if inputs.time is not None:
                raise ValueError(
                    'input_time is given, and time_attr is not (got time_attr=None). '
                    'Name the attribute that holds the times of the graph.'
                )
            return node, None
        return node, self._checked_time(node, inputs.time, kind)

    def _checked_time(
        self, node: NDArray[np.int64], given: Tensor | None, kind: Any
    ) -> NDArray[np.int64]:
        own = self.node_time.get(kind)
        where = 'the graph' if kind is None else f"node type '{kind}'"
        if given is None:
            if own is None:
                raise ValueError(
                    f"input_time is needed, as {where} has no '{self.time_attr}' (got "
                    f'input_time=None)'
                )
            time = own[node]
            if (time == NEVER).any():
                raise ValueError(
                    f"input_time is needed, as the '{self.time_attr}' of "
                    f'{int((time == NEVER).sum())} input_nodes is missing (first is '
                    f'node {node[time == NEVER][0]})'
                )
            return time
        time = _to_integers(given, 'input_time')
        if time.shape != node.shape:
            raise ValueError(
                f'input_time must have one time for each of the {len(node)} '
                f'input_nodes (got {list(given.shape)})'
            )
        if (time == MISSING_TIME).any():
            raise ValueError(
                f'input_time is missing for {int((time == MISSING_TIME).sum())} of '
                f'{len(time)} input_nodes (first is at {np.argmin(time)})'
            )
        if own is not None:
            late = own[node] > np.minimum(time, NEVER - 1)
            if late.any():
                first = int(np.argmax(late))
                raise ValueError(
                    f'{int(late.sum())} input_nodes are later than their input_time, '
                    f"or their '{self.time_attr}' is missing (first is node "
                    f'{node[first]} with input_time {time[first]}). Raise input_time, '
                    f'or leave these nodes out.'
                )
        return time

    def _to_output(self, arrays: Any) -> SamplerOutput | HeteroSamplerOutput:
        nodes, edges, hop_nodes, hop_edges = arrays
        node, node_type, local, seed = nodes
        sizes, edge_sizes = hop_nodes.sum(axis=1), hop_edges.sum(axis=1)
        place = (np.cumsum(sizes) - sizes)[node_type] + local
        by_type = np.empty((2, len(node)), dtype=np.int64)
        by_type[0, place] = node - self._index.node_start[node_type]
        by_type[1, place] = seed
        source, target, edge_id = edges[1:, np.argsort(edges[0], kind='stable')]

        def split(
            array: NDArray[Any], counts: NDArray[Any], names: list[Any]
        ) -> dict[Any, Tensor]:
            parts = torch.from_numpy(array).split(counts.tolist())
            return dict(zip(names, parts))

        fields: dict[str, Any] = {
            'node': split(by_type[0], sizes, self.node_types),
            'row': split(source, edge_sizes, self.edge_types),
            'col': split(target, edge_sizes, self.edge_types),
            'edge': split(edge_id, edge_sizes, self.edge_types),
            'batch': split(by_type[1], sizes, self.node_types),
            'num_sampled_nodes': dict(zip(self.node_types, hop_nodes.tolist())),
            'num_sampled_edges': dict(zip(self.edge_types, hop_edges.tolist())),
        }
        if not self.disjoint:
            fields['batch'] = None
        if self.is_hetero:
            return HeteroSamplerOutput(**fields)
        return SamplerOutput(
            **{key: value and value[None] for key, value in fields.items()}
        )


def _to_integers(values: Tensor, name: str) -> NDArray[np.int64]:
    if values.dim() != 1 or values.is_floating_point() or values.dtype == torch.bool:
        raise ValueError(
            f'{name} must be a vector of integers (got {values.dtype} of shape '
            f'{list(values.shape)})'
        )
    return values.cpu().numpy().astype(np.int64)
