r"""Links from children to parents, in a heterogeneous graph."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData


def _forward_types(data: HeteroData) -> list[Any]:
    return [
        edge_type
        for edge_type in data.edge_types
        if not edge_type[1].startswith('rev_') and 'edge_index' in data[edge_type]
    ]


def child_links(data: HeteroData, first_row: dict[str, int]) -> tuple[Tensor, Tensor]:
    r"""Links :obj:`[2, E]` from child to parent rows, and the edge type
    :obj:`[E]` of each.

    Args:
        data: The graph.
        first_row: The number of the first row of each node type.
    """
    links, kinds = [torch.zeros(2, 0, dtype=torch.long)], [torch.zeros(0).long()]
    for i, edge_type in enumerate(_forward_types(data)):
        edge_index = data[edge_type].edge_index
        first = [[first_row[edge_type[0]]], [first_row[edge_type[2]]]]
        links.append(edge_index + torch.tensor(first, device=edge_index.device))
        kinds.append(torch.full_like(edge_index[0], i))
    device = links[-1].device
    return (
        torch.cat([part.to(device) for part in links], dim=1),
        torch.cat([part.to(device) for part in kinds]),
    )


def hide_links(data: HeteroData, chosen: Tensor) -> None:
    r"""Takes chosen links out of their edge types and of the reverse ones, and
    keeps them in :obj:`target_index`.

    Args:
        data: The graph, changed in place but not its tensors.
        chosen: :obj:`[E]` which links of :func:`child_links`.
    """
    first = 0
    for edge_type in _forward_types(data):
        store = data[edge_type]
        hidden = chosen[first : first + store.edge_index.size(1)]
        first += hidden.numel()
        index, earlier = store.edge_index[:, hidden], store.get('target_index')
        source, relation, target = edge_type
        reverse = (target, f'rev_{relation}', source)
        if reverse in data.edge_types:
            back = data[reverse].edge_index
            size = (
                1 + int(torch.cat([store.edge_index, back.flip(0)], 1).max())
                if back.numel()
                else 1
            )
            code = torch.tensor([size, 1], device=back.device).view(2, 1)
            hidden_codes = (index * code).sum(0)
            _keep(
                data[reverse], ~torch.isin((back.flip(0) * code).sum(0), hidden_codes)
            )
        _keep(store, ~hidden)
        store.target_index = (
            index if earlier is None else torch.cat([earlier, index], dim=1)
        )


def _keep(store: Any, keep: Tensor) -> None:
    num_edges = keep.numel()
    for key, value in list(store.items()):
        if not isinstance(value, Tensor) or key == 'target_index':
            continue
        dim = -1 if 'index' in key else 0
        if value.dim() > 0 and value.size(dim) == num_edges:
            store[key] = value[..., keep] if dim == -1 else value[keep]
