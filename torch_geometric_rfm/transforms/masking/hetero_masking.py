import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.transforms.masking.arguments import chosen_columns
from torch_geometric_rfm.transforms.masking.choice import (
    HIDDEN,
    RANDOM,
    choose,
    draw_rates,
)
from torch_geometric_rfm.transforms.masking.hetero_links import child_links, hide_links
from torch_geometric_rfm.transforms.masking.hetero_values import (
    Values,
    read_values,
    write_frame,
    write_x,
)
from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.masking_view import MaskingView
from torch_geometric_rfm.transforms.masking.random_draws import (
    VALUE,
    context_keys,
    join,
    mix,
    uniform,
)
from torch_geometric_rfm.transforms.masking.target import TargetStrategy


class HeteroMasking:
    r"""What :class:`~torch_geometric_rfm.transforms.MaskCells` does to a
    :class:`~torch_geometric.data.HeteroData`.

    Each node type with features gets :obj:`mask` :obj:`[rows, columns]`, which is
    :obj:`True` where a value is to be predicted, and :obj:`target`, its features as
    they were. Columns stand in the order of :obj:`tf.col_names_dict`, or of
    :obj:`x`. Hidden numbers of a :obj:`tf` become NaN, categories and times -1, as
    Frame has it for missing values, and embeddings zero. Hidden numbers of an
    :obj:`x` become zero, which an ordinary layer can take; :obj:`mask` tells them
    from others. Missing values are never chosen.

    A child points to its parent by an edge type whose name does not begin with
    :obj:`rev_`. Links that :obj:`'foreign_key'` hides are taken out of it and of its
    reverse, with their attributes, and kept in :obj:`target_index`.

    The contexts are those of :obj:`batch` where all node types have it, as in
    disjoint subgraphs, and otherwise the graph is one. Draws depend on
    :obj:`data.epoch`, if there is one, on the :obj:`input_id` of the context, and on
    :obj:`n_id` or the position of the node; PyG's loaders set no :obj:`epoch`, so set
    it yourself to have others hidden in each. Random values come from the column at
    hand: apply it to a whole graph to have them from all rows.

    .. note::
        Only features are hidden: :obj:`time` of a node type still says when its rows
        happened. If your model reads it, leave that column out (:obj:`columns`, or
        :obj:`cell_types` without :obj:`'datetime'`). Where a table refers to itself,
        :obj:`T.ToUndirected` merges both directions into one edge type, in which a
        hidden link still stands backwards; pass :obj:`merge=False`.

    Args:
        data (HeteroData): The graph, changed in place but not its tensors.
        cell_types (frozenset): Types of cells that may be hidden.
        columns (frozenset, optional): Phrases of columns that may be hidden.

    Raises:
        ValueError: If there is nothing that could be hidden.

    Example:
        >>> from torch_geometric_rfm.data import to_hetero
        >>> from torch_geometric_rfm.testing import toy_database
        >>> from torch_geometric_rfm.transforms import MaskCells
        >>> data, _ = to_hetero(toy_database())
        >>> data = MaskCells('uniform', rate=0.2)(data)
        >>> data['orders'].mask.size(), data['orders'].target
        (torch.Size([200, 5]), TensorFrame(...))
    """

    def __init__(
        self,
        data: HeteroData,
        cell_types: frozenset[CellType],
        columns: frozenset[str] | None = None,
    ) -> None:
        self.data = data
        self.values: dict[str, Values] = {}
        for name in data.node_types:
            values = read_values(name, data[name])
            if values is not None:
                self.values[name] = values
        if not any(values.columns for values in self.values.values()):
            raise ValueError(
                f"MaskCells needs a node type with columns, in 'tf' or 'x' (got "
                f'{", ".join(map(repr, data.node_types)) or "none"}, all without)'
            )
        phrases = [
            f'{column} of {name}'
            for name, values in self.values.items()
            for column in values.columns
        ]
        allowed, first = chosen_columns(columns, phrases), 0
        self.eligible = {}
        for name, values in self.values.items():
            allowed_here = allowed[first : first + len(values.columns)]
            first += len(values.columns)
            free = torch.tensor(
                [
                    a and t in cell_types
                    for a, t in zip(allowed_here, values.cell_types)
                ],
                dtype=torch.bool,
                device=values.present.device,
            )
            earlier = data[name].get('mask')
            self.eligible[name] = values.present & free
            if earlier is not None:
                self.eligible[name] &= ~earlier

    def __call__(
        self,
        strategies: list[tuple[MaskStrategy, float]],
        rate: tuple[float, float],
        corruption: tuple[float, float, float],
        seed: int,
    ) -> HeteroData:
        r"""Hides what the strategies choose.

        Args:
            strategies: Strategies and weights.
            rate: The lowest and the highest share.
            corruption: Shares of hidden, random and unchanged values.
            seed: The seed of all draws.
        """
        if all(isinstance(strategy, TargetStrategy) for strategy, _ in strategies):
            raise ValueError(
                "strategy='target' hides nothing of a HeteroData, which has no label "
                "cells; use another, as 'uniform'"
            )
        keys, view = self._view(seed, rate)
        choice = choose(view, keys, strategies, corruption)
        draw = uniform(view.cell_key, VALUE)
        first = 0
        for name, values in self.values.items():
            part = slice(first, first + values.present.numel())
            first = part.stop
            size = values.present.size()
            parts = (x[part].view(size) for x in (choice.cells, choice.fate, draw))
            self._write(name, values, *parts)
        if any(strategy.hides_links for strategy, _ in strategies):
            hide_links(self.data, choice.links)
        return self.data

    def _view(self, seed: int, rate: tuple[float, float]) -> tuple[Tensor, MaskingView]:
        context, node, first_row, num_rows = [], [], {}, 0
        device = next(iter(self.values.values())).present.device
        contexts, input_id = _contexts(self.data, device)
        for i, name in enumerate(self.data.node_types):
            count = int(_num_rows(self.data, name))
            first_row[name] = num_rows
            num_rows += count
            context.append(
                contexts.get(name, torch.zeros(count, dtype=torch.long, device=device))
            )
            n_id = self.data[name].get('n_id')
            n_id = torch.arange(count, device=device) if n_id is None else n_id
            node.append(join(torch.full_like(n_id, i), n_id))
        of_row = torch.cat(context)
        epoch = torch.full_like(input_id, int(getattr(self.data, 'epoch', 0)))
        keys = context_keys(seed, epoch, input_id)
        row_key = join(keys[of_row], torch.cat(node))

        rows_of, columns_of, num_columns = [], [], 0
        for name, values in self.values.items():
            rows, width = values.present.size()
            number = torch.arange(rows, device=device) + first_row[name]
            rows_of.append(number.repeat_interleave(width))
            place = torch.arange(width, device=device) + num_columns
            columns_of.append(place.repeat(rows))
            num_columns += width
        row, column = torch.cat(rows_of), torch.cat(columns_of)
        links, kinds = child_links(self.data, first_row)
        view = MaskingView(
            eligible=torch.cat([e.reshape(-1) for e in self.eligible.values()]),
            row=row,
            column=column,
            context=of_row,
            links=links,
            link_eligible=torch.ones(links.size(1), dtype=torch.bool, device=device),
            rate=draw_rates(keys, *rate),
            cell_key=join(row_key[row], column),
            row_key=row_key,
            link_key=join(row_key[links[0]], kinds, row_key[links[1]]),
        )
        return keys, view

    def _write(
        self, name: str, values: Values, chosen: Tensor, fate: Tensor, draw: Tensor
    ) -> None:
        store = self.data[name]
        attr = 'x' if store.get('tf') is None else 'tf'
        if store.get('target') is None:
            store.target = store[attr]
        earlier = store.get('mask')
        store.mask = chosen if earlier is None else earlier | chosen
        # A random row among those where the column shows a value, column by column.
        shown = values.present if earlier is None else values.present & ~earlier
        source = torch.zeros_like(fate)
        for i in range(chosen.size(1)):
            rows = shown[:, i].nonzero().view(-1)
            if rows.numel() > 0:
                source[:, i] = rows[(draw[:, i] * rows.numel()).long()]
        write = write_x if attr == 'x' else write_frame
        hidden, random = chosen & (fate == HIDDEN), chosen & (fate == RANDOM)
        store[attr] = write(store[attr], hidden, random, source)


def _num_rows(data: HeteroData, name: str) -> int:
    tf = data[name].get('tf')
    return int(data[name].num_nodes) if tf is None else tf.num_rows


def _contexts(
    data: HeteroData, device: torch.device
) -> tuple[dict[str, Tensor], Tensor]:
    # Contexts of the nodes by type, and what names each context.
    batches = {name: data[name].get('batch') for name in data.node_types}
    ids = [data[name].input_id for name in data.node_types if 'input_id' in data[name]]
    known = {name: batch for name, batch in batches.items() if batch is not None}
    if len(known) == len(batches):
        size = 1 + max(int(b.max()) if b.numel() else 0 for b in known.values())
        if ids and ids[0].numel() >= size:
            return known, ids[0]
        return known, torch.arange(size, device=device)
    if not ids:
        return {}, torch.zeros(1, dtype=torch.long, device=device)
    return {}, mix(ids[0]).sum().view(1)
