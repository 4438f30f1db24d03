from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import UNDATED, CellData
from torch_geometric_rfm.nn.foreign_key_links import EdgeType, foreign_key_links


def to_cell_graph(
    x_dict: Mapping[str, Tensor],
    edge_index_dict: Mapping[EdgeType, Tensor],
    batch_dict: Mapping[str, Tensor] | None = None,
    fkey_types: Sequence[EdgeType] | None = None,
) -> CellData:
    r"""Lays the features of a heterogeneous graph out as cells, so that
    :func:`~torch_geometric_rfm.nn.attention_masks` and
    :class:`~torch_geometric_rfm.nn.RelationalAttention` apply to the batches of
    any :class:`~torch_geometric.loader.NeighborLoader`.

    A node is a row, a node type a table. Cells lie in the order of their
    contexts, within a context by table, row and column;
    :func:`from_cell_graph` leads back.

    An edge of type :obj:`(child, relation, parent)` says that a row refers to
    another one by a foreign key. A relation :obj:`rev_*` is the reverse of
    another one. As a sampler may find an edge in one direction only, the links
    are those of both.

    Args:
        x_dict (dict): For each node type its features
            :obj:`[rows, columns, channels]`, as the encoders of PyTorch Frame
            give them, or :obj:`[rows, channels]` for one cell a row.
        edge_index_dict (dict): For each edge type its edges :obj:`[2, E]`.
        batch_dict (dict, optional): For each node type the context of each of
            its rows, in any order, as in batches of a disjoint loader. Without
            it, all rows are one context. (default: :obj:`None`)
        fkey_types (sequence of tuple, optional): The edge types that lead from
            a child to its parent; others are left out, apart from the reverses
            of these. :obj:`None` takes all edge types whose relation does not
            start with :obj:`rev_`. (default: :obj:`None`)

    Returns:
        CellData: The cells, with their features :obj:`x` of shape
        :obj:`[N, channels]` and all that masks read, but without values,
        times or cell types. As a batch does not say which table its seeds are
        of, :obj:`seed_row` is the first row of each context, whichever it is.

    Example:
        >>> x_dict = {'orders': torch.randn(3, 4, 8), 'users': torch.randn(2, 5, 8)}
        >>> edge_index = torch.tensor([[0, 1, 2], [0, 1, 1]])
        >>> cells = to_cell_graph(x_dict, {('orders', 'f2p_user', 'users'): edge_index})
        >>> cells.x.size()
        torch.Size([22, 8])
        >>> from torch_geometric_rfm.nn import RelationalAttention, attention_masks
        >>> conv = RelationalAttention(8, heads=2)
        >>> x = conv(cells.x, attention_masks(cells)['feature'])
        >>> from_cell_graph(x, cells)['users'].size()
        torch.Size([2, 5, 8])
    """
    _check_features(x_dict)
    names = list(x_dict)
    features = list(x_dict.values())
    device = features[0].device
    table_size = torch.tensor([x.size(0) for x in features], device=device)
    num_columns = torch.tensor(
        [x.size(1) if x.dim() == 3 else 1 for x in features], device=device
    )

    # Rows by context, then as they are: [R].
    batch = _contexts(x_dict, batch_dict)
    order = batch.argsort(stable=True)
    batch = batch[order]
    row_table = torch.repeat_interleave(table_size)[order]
    row_index = order - _starts(table_size)[row_table]
    num_contexts = int(batch[-1]) + 1 if batch.numel() > 0 else 1
    num_rows = torch.bincount(batch, minlength=num_contexts)

    # Cells of a row stay together: [N].
    row_size = num_columns[row_table]
    row = torch.repeat_interleave(row_size)
    position = torch.arange(row.numel(), device=device) - _starts(row_size)[row]
    first_cell = _starts(num_columns[torch.repeat_interleave(table_size)])[order]
    cell_index = first_cell[row] + position
    num_cells = torch.bincount(batch[row], minlength=num_contexts)

    row_dict = dict(zip(names, _inverse(order).split(table_size.tolist())))
    links = foreign_key_links(edge_index_dict, row_dict, fkey_types)
    _check_contexts(links, batch)
    link_count = torch.tensor([link.size(1) for link in links.values()], device=device)
    channels = features[0].size(-1)
    x = torch.cat([x.reshape(-1, channels) for x in features])
    return CellData(
        x=x.index_select(0, cell_index),
        column=_starts(num_columns)[row_table][row] + position,
        row=row,
        row_time=torch.full_like(row_index, UNDATED),
        row_table=row_table,
        row_index=row_index,
        fkey_index=torch.cat([batch.new_empty(2, 0), *links.values()], dim=1),
        fkey_type=torch.repeat_interleave(link_count.long()),
        seed_row=_starts(num_rows),
        batch=batch[row],
        ptr=torch.cat([num_cells.new_zeros(1), num_cells.cumsum(0)]),
        column_names=[
            f'column_{i} of {name}'
            for name, count in zip(names, num_columns.tolist())
            for i in range(count)
        ],
        table_names=names,
        fkey_names=[
            f'{child}.{relation.removeprefix("f2p_")}' for child, relation, _ in links
        ],
        cell_index=cell_index,
        x_shapes={name: tuple(x.shape[:-1]) for name, x in x_dict.items()},
    )


def from_cell_graph(x: Tensor, cells: CellData) -> dict[str, Tensor]:
    r"""Leads back from cells to the features of each node type.

    Args:
        x (Tensor): The features of the cells :obj:`[N, *]`.
        cells (CellData): What :func:`to_cell_graph` returned.

    Returns:
        dict: For each node type its features :obj:`[rows, columns, *]`, or
        :obj:`[rows, *]` where it came with one cell a row, in its order of
        rows.

    Example:
        >>> x_dict = {'users': torch.randn(3, 5, 8)}
        >>> cells = to_cell_graph(x_dict, {}, {'users': torch.tensor([1, 0, 1])})
        >>> from_cell_graph(cells.x, cells)['users'].equal(x_dict['users'])
        True
    """
    if 'cell_index' not in cells:
        raise ValueError("'cells' must come from 'to_cell_graph' (got others)")
    cell_index = cells.cell_index
    if x.dim() == 0 or x.size(0) != cell_index.numel():
        raise ValueError(
            f"'x' must hold the features of {cell_index.numel()} cells "
            f'(got {list(x.shape)})'
        )
    inverse = _inverse(cell_index)
    shapes: dict[str, tuple[int, ...]] = cells.x_shapes
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    parts = x.index_select(0, inverse).split(sizes)
    return {
        name: part.view(*shape, *x.shape[1:])
        for (name, shape), part in zip(shapes.items(), parts)
    }


def _starts(size: Tensor) -> Tensor:
    return size.cumsum(0) - size


def _inverse(permutation: Tensor) -> Tensor:
    out = torch.empty_like(permutation)
    out[permutation] = torch.arange(permutation.numel(), device=out.device)
    return out


def _quoted(names: Sequence[str]) -> str:
    return ', '.join(map(repr, names))


def _check_features(x_dict: Mapping[str, Tensor]) -> None:
    if len(x_dict) == 0:
        raise ValueError("'x_dict' is empty; pass the features of a node type")
    for name, x in x_dict.items():
        if not isinstance(x, Tensor):
            raise TypeError(
                f"'x_dict[{name!r}]' must be a Tensor (got {type(x).__name__})"
            )
        if x.dim() not in (2, 3):
            raise ValueError(
                f"'x_dict[{name!r}]' must be of shape [rows, columns, channels] or "
                f'[rows, channels] (got {list(x.shape)})'
            )
    (first, x), *others = x_dict.items()
    for name, other in others:
        if other.size(-1) != x.size(-1):
            raise ValueError(
                f"'x_dict' must have the same channels everywhere ({first!r} has "
                f'{x.size(-1)}, {name!r} has {other.size(-1)}); project them to one '
                'width'
            )
        if other.dtype != x.dtype:
            raise TypeError(
                f"'x_dict' must have the same dtype everywhere ({first!r} has "
                f'{x.dtype}, {name!r} has {other.dtype}); cast them to one'
            )


def _contexts(
    x_dict: Mapping[str, Tensor], batch_dict: Mapping[str, Tensor] | None
) -> Tensor:
    batches = []
    for name, x in x_dict.items():
        if not batch_dict or (x.size(0) == 0 and name not in batch_dict):
            batches.append(torch.zeros(x.size(0), dtype=torch.long, device=x.device))
            continue
        if name not in batch_dict:
            raise ValueError(
                f"'batch_dict' lacks {name!r} (got {_quoted(list(batch_dict))}); pass "
                'the contexts of all node types, or none for a single context'
            )
        batch = batch_dict[name]
        if batch.dtype != torch.long:
            raise TypeError(
                f"'batch_dict[{name!r}]' must be a LongTensor (got {batch.dtype})"
            )
        if batch.shape != (x.size(0),):
            raise ValueError(
                f"'batch_dict[{name!r}]' must hold the context of each of the "
                f'{x.size(0)} rows (got {list(batch.shape)})'
            )
        if batch.numel() > 0 and int(batch.min()) < 0:
            raise ValueError(
                f"'batch_dict[{name!r}]' must not be negative (got {int(batch.min())})"
            )
        batches.append(batch)
    return torch.cat(batches)


def _check_contexts(links: Mapping[EdgeType, Tensor], batch: Tensor) -> None:
    for fkey_type, link in links.items():
        child, parent = batch[link]
        apart = (child != parent).nonzero().view(-1)
        if apart.numel() > 0:
            raise ValueError(
                f'{fkey_type} links a row of context {int(child[apart[0]])} to one of '
                f"context {int(parent[apart[0]])}; leave 'batch_dict' out unless the "
                'loader is disjoint'
            )
