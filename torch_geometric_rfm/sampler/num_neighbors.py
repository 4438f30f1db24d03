r"""How many neighbours each hop takes, by edge type."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_geometric.sampler import NumNeighbors
from torch_geometric.typing import EdgeTypeStr


def num_neighbors_matrix(
    num_neighbors: Any, edge_types: list[Any]
) -> NDArray[np.int64]:
    r"""The number of neighbours as :obj:`[edge types, hops]`.

    Args:
        num_neighbors (list, dict or NumNeighbors): For each hop a number, -1
            for all, of all edge types alike or by edge type.
        edge_types (list): The edge types of the graph.

    Raises:
        ValueError: If a number is below -1 or no integer, if an edge type is
            unknown or left out, or if the hops differ in number.
    """
    default = None
    if isinstance(num_neighbors, NumNeighbors):
        num_neighbors, default = num_neighbors.values, num_neighbors.default
    if isinstance(num_neighbors, Mapping):
        values = {_edge_type(key): value for key, value in num_neighbors.items()}
        unknown = [key for key in values if key not in edge_types]
        if unknown:
            raise ValueError(
                f'num_neighbors names edge types that the graph lacks (got {unknown}, '
                f'known are: {edge_types})'
            )
        left_out = [key for key in edge_types if key not in values]
        if left_out and default is None:
            raise ValueError(
                f'num_neighbors leaves out edge types (got none for {left_out}). Name '
                f'them too, with zeros if nothing is to be taken along them.'
            )
        values = {key: values.get(key, default) for key in edge_types}
    else:
        values = dict.fromkeys(edge_types, num_neighbors)
    for value in [num_neighbors] if not values else values.values():
        _check_hops(value)
    hops = {key: len(value) for key, value in values.items()}
    if len(set(hops.values())) > 1:
        raise ValueError(
            f'the number of hops must be the same across all edge types of '
            f'num_neighbors (got {hops})'
        )
    num_hops = next(iter(hops.values()), 0)
    matrix = [list(value) for value in values.values()]
    return np.array(matrix, dtype=np.int64).reshape(len(values), num_hops)


def _edge_type(key: Any) -> Any:
    if isinstance(key, tuple) and len(key) == 3:
        return key
    return EdgeTypeStr(key).to_tuple()


def _check_hops(value: Any) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(
            f'num_neighbors must be a list with one number a hop, or a dictionary of '
            f'such lists by edge type (got {value!r})'
        )
    for number in value:
        if not isinstance(number, Integral) or int(number) < -1:
            raise ValueError(
                f'num_neighbors must hold integers of at least -1, which takes all '
                f'(got {number!r} in {list(value)})'
            )
