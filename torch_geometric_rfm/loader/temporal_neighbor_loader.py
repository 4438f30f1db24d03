from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.loader import NodeLoader

from torch_geometric_rfm.loader.epoch_sampler import EpochDataLoader, split_epochs
from torch_geometric_rfm.sampler.temporal_neighbor_sampler import (
    TemporalNeighborSampler,
)


class TemporalNeighborLoader(NodeLoader, EpochDataLoader):
    r"""Loads mini-batches of sampled subgraphs, with the arguments and the
    batches of :class:`torch_geometric.loader.NeighborLoader`, and needs neither
    :obj:`pyg-lib` nor :obj:`torch-sparse`.

    With :obj:`time_attr` no node of a batch is later than its seed. Batches
    depend on :obj:`seed` and the epoch alone, not on the number of workers.
    See :class:`~torch_geometric_rfm.sampler.TemporalNeighborSampler` for what
    is sampled, and for missing times.

    Where :class:`~torch_geometric.loader.NeighborLoader` leaves
    :obj:`seed_time` empty without :obj:`input_time`, batches hold the time of
    the seed nodes.

    Args:
        data (Data, HeteroData or tuple): The graph, or its feature and graph
            store.
        num_neighbors (list or dict): For each hop the number of neighbours, of
            all edge types alike or by edge type; 0 takes none, -1 all.
        input_nodes (Tensor, str or tuple, optional): Indices or mask of the
            seeds, in a heterogeneous graph a node type or a tuple of it and
            them. :obj:`None` stands for all. (default: :obj:`None`)
        input_time (Tensor, optional): The time of each seed; that of its node
            if not given. (default: :obj:`None`)
        replace, subgraph_type, disjoint, temporal_strategy, time_attr: See
            :class:`~torch_geometric_rfm.sampler.TemporalNeighborSampler`.
        weight_attr (str, optional): Not supported. (default: :obj:`None`)
        transform (Callable, optional): Applied to every batch; in the worker,
            unless :obj:`filter_per_worker` is :obj:`False`.
            (default: :obj:`None`)
        transform_sampler_output (Callable, optional): Applied to what the
            sampler returns. (default: :obj:`None`)
        is_sorted (bool): Changes nothing, as edges are sorted in any case.
            (default: :obj:`False`)
        filter_per_worker (bool, optional): Whether features are looked up in
            the worker; :obj:`None` does so unless the data is on a GPU.
            (default: :obj:`None`)
        neighbor_sampler (TemporalNeighborSampler, optional): A sampler to
            share with other loaders, in place of one made from the arguments.
            (default: :obj:`None`)
        seed (int): Determines order and draws. (default: :obj:`0`)
        **kwargs: Further arguments of :class:`torch.utils.data.DataLoader`,
            such as :obj:`batch_size`, :obj:`shuffle` or :obj:`num_workers`.

    Raises:
        ValueError: If an argument does not fit the graph, or if a seed is later
            than its own time.
        NotImplementedError: If :obj:`weight_attr` is given, or
            :obj:`subgraph_type` is :obj:`"induced"`.

    Example:
        >>> from torch_geometric_rfm.data import to_hetero
        >>> from torch_geometric_rfm.testing import toy_database
        >>> data, col_stats = to_hetero(toy_database())
        >>> loader = TemporalNeighborLoader(
        ...     data,
        ...     num_neighbors=[4, 4],
        ...     input_nodes='orders',
        ...     time_attr='time',
        ...     temporal_strategy='last',
        ...     batch_size=8,
        ... )
        >>> batch = next(iter(loader))
        >>> batch['orders'].batch_size
        8
        >>> seed_time = batch['orders'].seed_time[batch['orders'].batch]
        >>> bool((batch['orders'].time <= seed_time).all())
        True
    """

    def __init__(
        self,
        data: Any,
        num_neighbors: Any,
        input_nodes: Any = None,
        input_time: Tensor | None = None,
        replace: bool = False,
        subgraph_type: Any = 'directional',
        disjoint: bool = False,
        temporal_strategy: str = 'uniform',
        time_attr: str | None = None,
        weight_attr: str | None = None,
        transform: Callable | None = None,
        transform_sampler_output: Callable | None = None,
        is_sorted: bool = False,
        filter_per_worker: bool | None = None,
        neighbor_sampler: TemporalNeighborSampler | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if weight_attr is not None:
            raise NotImplementedError(
                f'weight_attr is not supported (got {weight_attr!r}); leave it out to '
                f'draw uniformly'
            )
        if neighbor_sampler is None:
            neighbor_sampler = TemporalNeighborSampler(
                data,
                num_neighbors=num_neighbors,
                subgraph_type=subgraph_type,
                replace=replace,
                disjoint=disjoint,
                temporal_strategy=temporal_strategy,
                time_attr=time_attr,
                seed=seed,
            )
        elif not isinstance(neighbor_sampler, TemporalNeighborSampler):
            raise ValueError(
                f'neighbor_sampler must be a TemporalNeighborSampler (got '
                f'{type(neighbor_sampler).__name__})'
            )
        super().__init__(
            data,
            node_sampler=neighbor_sampler,
            input_nodes=_checked_nodes(input_nodes, neighbor_sampler),
            input_time=None if input_time is None else torch.as_tensor(input_time),
            transform=transform,
            transform_sampler_output=transform_sampler_output,
            filter_per_worker=filter_per_worker,
            seed=seed,
            **kwargs,
        )
        neighbor_sampler.check_inputs(self.input_data)

    def collate_fn(self, index: Any) -> Any:
        r"""Samples the subgraph of a list of inputs, each an index or an
        :obj:`(epoch, index)` pair.
        """
        epoch, index = split_epochs(index)
        inputs = self.input_data[torch.from_numpy(index.copy())]
        out = self.node_sampler.sample_from_nodes(inputs, epoch=epoch)
        return self.filter_fn(out) if self.filter_per_worker else out


def _checked_nodes(input_nodes: Any, sampler: TemporalNeighborSampler) -> Any:
    if not sampler.is_hetero:
        return _to_tensor(input_nodes, sampler.num_nodes[None])
    if isinstance(input_nodes, str):
        input_nodes = (input_nodes, None)
    pair = isinstance(input_nodes, (tuple, list)) and len(input_nodes) == 2
    if not pair or input_nodes[0] not in sampler.node_types:
        got = repr(input_nodes[0]) if pair else type(input_nodes).__name__
        raise ValueError(
            f'input_nodes must be a node type of the graph, or a tuple of it and nodes '
            f'(got {got}, known are: {", ".join(map(repr, sampler.node_types))})'
        )
    kind, nodes = input_nodes
    num_nodes = sampler.num_nodes[kind]
    # Spelled out, as PyG cannot number the nodes of a type in every kind of store.
    nodes = range(num_nodes) if nodes is None else _to_tensor(nodes, num_nodes)
    return kind, nodes


def _to_tensor(nodes: Any, num_nodes: int) -> Any:
    if isinstance(nodes, np.ndarray):
        nodes = torch.from_numpy(nodes)
    is_mask = isinstance(nodes, Tensor) and nodes.dtype == torch.bool
    if is_mask and nodes.shape != (num_nodes,):
        raise ValueError(
            f'input_nodes must be a mask of {num_nodes} nodes, or their indices (got a '
            f'mask of shape {list(nodes.shape)})'
        )
    return nodes
