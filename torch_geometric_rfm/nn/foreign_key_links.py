from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

EdgeType = tuple[str, str, str]


def foreign_key_links(
    edge_index_dict: Mapping[EdgeType, Tensor],
    row_dict: Mapping[str, Tensor],
    fkey_types: Sequence[EdgeType] | None = None,
) -> dict[EdgeType, Tensor]:
    r"""For each foreign key of a heterogeneous graph its links between rows,
    of the edges in both directions, each link once.

    Args:
        edge_index_dict (dict): For each edge type its edges :obj:`[2, E]`.
        row_dict (dict): For each node type the number of each of its rows.
        fkey_types (sequence of tuple, optional): The edge types that lead from
            a child to its parent; all whose relation does not start with
            :obj:`rev_` if not given. (default: :obj:`None`)

    Returns:
        dict: For each type from child to parent its links :obj:`[2, E]`, in
        the numbers of :obj:`row_dict`.

    Example:
        >>> edge_index_dict = {
        ...     ('orders', 'f2p_user', 'users'): torch.tensor([[0, 1], [0, 0]]),
        ...     ('users', 'rev_f2p_user', 'orders'): torch.tensor([[0], [2]]),
        ... }
        >>> row_dict = {'orders': torch.arange(3), 'users': torch.tensor([3])}
        >>> foreign_key_links(edge_index_dict, row_dict)
        {('orders', 'f2p_user', 'users'): tensor([[0, 1, 2],
                [3, 3, 3]])}
    """
    out = {}
    for fkey_type in _fkey_types(list(edge_index_dict), fkey_types):
        both = []
        for edge_type in (fkey_type, _reverse(fkey_type)):
            if edge_type in edge_index_dict:
                edge_index = edge_index_dict[edge_type]
                _check_edges(edge_type, edge_index, row_dict)
                both.append(
                    edge_index if edge_type == fkey_type else edge_index.flip(0)
                )
        child, parent = torch.cat(both, dim=1)
        child, parent = row_dict[fkey_type[0]][child], row_dict[fkey_type[2]][parent]
        out[fkey_type] = torch.stack([child, parent]).unique(dim=1)
    return out


def _reverse(edge_type: EdgeType) -> EdgeType:
    source, relation, target = edge_type
    if relation.startswith('rev_'):
        return target, relation.removeprefix('rev_'), source
    return target, f'rev_{relation}', source


def _fkey_types(
    edge_types: Sequence[EdgeType], fkey_types: Sequence[EdgeType] | None
) -> list[EdgeType]:
    if fkey_types is None:
        forward = [
            _reverse(edge_type) if edge_type[1].startswith('rev_') else edge_type
            for edge_type in edge_types
        ]
        return list(dict.fromkeys(forward))
    for edge_type in fkey_types:
        if edge_type not in edge_types and _reverse(edge_type) not in edge_types:
            raise ValueError(
                f"'fkey_types' must be edge types of the graph (got {edge_type}, known "
                f'are: {", ".join(map(str, edge_types))})'
            )
        if _reverse(edge_type) in fkey_types:
            raise ValueError(
                f"'fkey_types' holds both {edge_type} and its reverse; keep the one "
                'that leads from child to parent'
            )
    return list(dict.fromkeys(fkey_types))


def _check_edges(
    edge_type: EdgeType, edge_index: Tensor, row_dict: Mapping[str, Tensor]
) -> None:
    what = f"'edge_index_dict[{edge_type}]'"
    if not isinstance(edge_index, Tensor) or edge_index.dtype != torch.long:
        kind = getattr(edge_index, 'dtype', type(edge_index).__name__)
        raise TypeError(f'{what} must be a LongTensor (got {kind})')
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            f'{what} must be of shape [2, E] (got {list(edge_index.shape)})'
        )
    for name, index in zip(edge_type[::2], edge_index):
        if name not in row_dict:
            raise ValueError(
                f"'x_dict' lacks {name!r} of {edge_type} (got "
                f'{", ".join(map(repr, row_dict))}); pass its features, or leave the '
                "edge type out by 'fkey_types'"
            )
        if index.numel() == 0:
            continue
        low, high = (int(bound) for bound in index.aminmax())
        if low < 0 or high >= row_dict[name].numel():
            raise ValueError(
                f'{what} must lie in [0, {row_dict[name].numel()}), the number of rows '
                f'of {name!r} (got {low} to {high})'
            )
