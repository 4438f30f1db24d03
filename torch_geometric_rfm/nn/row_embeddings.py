from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from torch_geometric_rfm.data.cell_data import CellData


class RowEmbeddings(NamedTuple):
    r"""Embedded rows of one table.

    Args:
        row: :obj:`[R]` position of each row in its table, hence its node in the
            :class:`~torch_geometric.data.HeteroData` of the database.
        context: :obj:`[R]` context of each row, as a row may lie in several.
        x: :obj:`[R, C]` its embedding.
    """

    row: Tensor
    context: Tensor
    x: Tensor


def row_mean(x: Tensor, cells: CellData) -> Tensor:
    r"""The mean of the embedded cells of each row, zero for rows without cells.

    Args:
        x (Tensor): The embedded cells :obj:`[N, C]`.
        cells (CellData): The contexts.

    Returns:
        Tensor: The rows :obj:`[R, C]`.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells()
        >>> mean = row_mean(cells.row.float().unsqueeze(1), cells)
        >>> bool((mean[cells.row, 0] == cells.row).all())
        True
    """
    if x.dim() != 2 or x.size(0) != cells.row.numel():
        raise ValueError(
            f"'x' must hold an embedding for each of the {cells.row.numel()} cells "
            f'(got shape {list(x.shape)})'
        )
    count = torch.bincount(cells.row, minlength=cells.num_rows).clamp(min=1)
    total = x.new_zeros(cells.num_rows, x.size(1)).index_add(0, cells.row, x)
    return total / count.unsqueeze(1)


def row_embeddings(x: Tensor, cells: CellData) -> dict[str, RowEmbeddings]:
    r"""Embedded rows of contexts by their table, the mean of their embedded cells.

    Args:
        x (Tensor): The embedded cells :obj:`[N, C]`.
        cells (CellData): The contexts.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_tables=2)
        >>> tables = row_embeddings(torch.randn(cells.num_nodes, 16), cells)
        >>> sum(table.row.numel() for table in tables.values()) == cells.num_rows
        True
    """
    mean, context = row_mean(x, cells), cells.row_context
    names, table = _tables(cells)
    out = {}
    for i, name in enumerate(names):
        rows = (table == i).nonzero().view(-1)
        if rows.numel() > 0:
            out[name] = RowEmbeddings(cells.row_index[rows], context[rows], mean[rows])
    return out


def to_x_dict(
    embeddings: Mapping[str, RowEmbeddings], data: HeteroData
) -> dict[str, Tensor]:
    r"""Lays embedded rows out as the features of a heterogeneous graph.

    In a batch of a disjoint loader, as of
    :class:`~torch_geometric_rfm.loader.TemporalNeighborLoader` with a
    :obj:`time_attr`, a node gets what its row is in the context of the same number,
    so that contexts and seeds must come in the same order, and each knows no more
    than its own seed. Otherwise a node gets the mean over all contexts that its row
    lies in. Nodes whose row lies in none are zero.

    Args:
        embeddings (dict): What :meth:`RelationalTransformer.encode_rows
            <torch_geometric_rfm.nn.RelationalTransformer.encode_rows>` returned. Tables
            that are no node types, as that of a task, are left out.
        data (HeteroData): The graph of the database, or a batch of a loader over it.

    Returns:
        dict: For each node type its features :obj:`[num_nodes, C]`.

    Raises:
        ValueError: If no table is a node type, or a batch has other seeds.

    Example:
        >>> from torch_geometric_rfm.data import to_hetero
        >>> from torch_geometric_rfm.loader import ContextLoader
        >>> from torch_geometric_rfm.nn import RelationalTransformer
        >>> from torch_geometric_rfm.testing import toy_database, toy_task_store
        >>> db = toy_database()
        >>> data, _ = to_hetero(db)
        >>> cells = next(iter(ContextLoader(toy_task_store(db=db), num_cells=64)))
        >>> model = RelationalTransformer.small(channels=16)
        >>> x_dict = to_x_dict(model.encode_rows(cells), data)
        >>> {name: list(x.shape) for name, x in x_dict.items()}
        {'shops': [4, 16], 'customers': [30, 16], 'orders': [200, 16]}
    """
    known = [name for name in data.node_types if name in embeddings]
    if len(known) == 0:
        raise ValueError(
            f"'embeddings' must be of node types of the graph (got "
            f'{", ".join(map(repr, embeddings))}, known are: '
            f'{", ".join(map(repr, data.node_types))})'
        )
    batches = [data[name].get('batch') for name in data.node_types]
    _check_contexts([b for b in batches if b is not None], embeddings)
    template, out = embeddings[known[0]].x, {}
    for name, batch in zip(data.node_types, batches):
        num_nodes = int(data[name].num_nodes)
        out[name] = template.new_zeros(num_nodes, template.size(1))
        if name in embeddings:
            row, context, x = embeddings[name]
            node = data[name].get('n_id')
            node = torch.arange(num_nodes) if node is None else node
            node = node.to(row.device)
            if batch is not None:
                node, row = _joint(node, batch.to(row.device), row, context)
            out[name] = _mean_of(x, row, node)
    return out


def _check_contexts(
    batches: list[Tensor], embeddings: Mapping[str, RowEmbeddings]
) -> None:
    if not batches:
        return
    numbers = (batches, [table.context for table in embeddings.values()])
    seeds, contexts = (
        1 + max((int(ids.max()) for ids in each if ids.numel()), default=-1)
        for each in numbers
    )
    if seeds != contexts:
        raise ValueError(
            f"'embeddings' must be of a context for each of the {seeds} seeds of the "
            f'batch (got {contexts} contexts); load both with the same seeds, in the '
            'same order'
        )


def _tables(cells: CellData) -> tuple[list[str], Tensor]:
    # Names of tables, and for each row which of them it is of: [R].
    lists = cells.table_names
    if not lists or not isinstance(lists[0], list):
        return lists, cells.row_table
    if all(names == lists[0] for names in lists):
        return lists[0], cells.row_table
    if len(lists) != cells.num_contexts:
        raise ValueError(
            f"'cells' joins batches of {len(lists)} tasks, whose rows cannot be told "
            'apart; encode the batches of each task by themselves'
        )
    known = list(dict.fromkeys(name for names in lists for name in names))
    number = [
        known.index(lists[context][table])
        for context, table in zip(cells.row_context.tolist(), cells.row_table.tolist())
    ]
    return known, torch.tensor(number, device=cells.row_table.device)


def _joint(
    node: Tensor, batch: Tensor, row: Tensor, context: Tensor
) -> tuple[Tensor, Tensor]:
    # One number for a row in a context.
    size = 1 + max(int(ids.max()) if ids.numel() else 0 for ids in (node, row))
    return batch * size + node, context * size + row


def _mean_of(x: Tensor, key: Tensor, wanted: Tensor) -> Tensor:
    # The mean of the rows of x that have the wanted key, zero if there are none.
    known, group = key.unique(return_inverse=True)
    total = x.new_zeros(known.numel(), x.size(1)).index_add(0, group, x)
    mean = total / torch.bincount(group, minlength=known.numel()).unsqueeze(1)
    if known.numel() == 0:
        return x.new_zeros(wanted.numel(), x.size(1))
    place = torch.searchsorted(known, wanted).clamp(max=known.numel() - 1)
    return mean[place] * (known[place] == wanted).unsqueeze(1)
