from dataclasses import dataclass

import torch
from torch import Tensor

from torch_geometric_rfm.nn.masks.edge_mask import EdgeMask
from torch_geometric_rfm.nn.masks.join import join, ragged_lists


@dataclass(eq=False)
class IdMask:
    r"""An attention mask in its compact form: a cell attends to the cells of
    its context with which it shares an id.

    Every encoding of a mask is derived from this form. Any number of ids a
    cell may stand side by side; negative ids are never shared.

    Args:
        query (Tensor): Integers :obj:`[N]` or :obj:`[N, P]`, the ids of each
            cell as a query.
        key (Tensor): Integers :obj:`[N]` or :obj:`[N, Q]`, the ids of each
            cell as a key.

    Example:
        >>> import torch
        >>> column = torch.tensor([0, 1, 0])
        >>> mask = IdMask(column, column)
        >>> mask.to_edge_index(torch.zeros(3, dtype=torch.long))
        tensor([[0, 2, 1, 0, 2],
                [0, 0, 1, 2, 2]])
    """

    query: Tensor
    key: Tensor

    def __post_init__(self) -> None:
        for name in ('query', 'key'):
            ids = getattr(self, name)
            if not isinstance(ids, Tensor) or ids.dtype not in _INTEGERS:
                kind = getattr(ids, 'dtype', type(ids).__name__)
                raise TypeError(f"'{name}' must be a tensor of integers (got {kind})")
            if ids.dim() not in (1, 2):
                raise ValueError(
                    f"'{name}' must be of shape [N] or [N, P] (got {list(ids.shape)})"
                )
        if self.query.size(0) != self.key.size(0):
            raise ValueError(
                "'query' and 'key' must hold the ids of the same cells "
                f'(got {list(self.query.shape)} and {list(self.key.shape)})'
            )
        if self.query.device != self.key.device:
            raise ValueError(
                "'query' and 'key' must be on one device "
                f'(got {self.query.device} and {self.key.device})'
            )

    @classmethod
    def from_edge_index(cls, edge_index: Tensor, batch: Tensor) -> 'IdMask':
        r"""The compact form of edges, as long as the largest degree.

        Args:
            edge_index (Tensor): Edges :obj:`[2, E]` from keys to queries.
            batch (Tensor): Context of each cell :obj:`[N]`.
        """
        num_cells = batch.numel()
        source, target = EdgeMask(edge_index, num_cells).edge_index
        between = (batch[source] != batch[target]).nonzero().view(-1)
        if between.numel() > 0:
            i, j = edge_index[:, between[0]].tolist()
            raise ValueError(
                "'edge_index' must stay within contexts "
                f'(got an edge from cell {i} to cell {j}, in contexts '
                f'{int(batch[i])} and {int(batch[j])})'
            )
        cell = torch.arange(num_cells, device=batch.device)
        # One side lists its partners, the other is its own number; lists are
        # as wide as the largest, so the side with the smaller one is taken.
        out, into = (
            torch.bincount(end, minlength=num_cells).max() if num_cells > 0 else 0
            for end in (source, target)
        )
        if out < into:
            return cls(cell, ragged_lists(source, target, num_cells))
        return cls(ragged_lists(target, source, num_cells), cell)

    @property
    def num_cells(self) -> int:
        r"""Number of cells :math:`N`."""
        return self.query.size(0)

    @property
    def is_partition(self) -> bool:
        r"""Whether cells fall into groups in which everybody attends to
        everybody, and to nobody else.
        """
        return self.query is self.key and self.query.dim() == 1

    @property
    def is_constant(self) -> bool:
        r"""Whether all cells of a context attend to each other."""
        if not self.is_partition:
            return False
        return not bool(((self.query < 0) | (self.query != self.query[:1])).any())

    def ids(self) -> tuple[Tensor, Tensor]:
        r"""The ids of queries :obj:`[N, P]` and keys :obj:`[N, Q]`, none twice
        for a cell.
        """
        query = _distinct(self.query)
        return query, query if self.query is self.key else _distinct(self.key)

    def entries(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Who has which id, as four tensors: the cells of all ids of queries
        and these ids, told apart by context, then the same for keys.

        Args:
            batch (Tensor): Context of each cell :obj:`[N]`.
        """
        query, key = self.ids()
        high = [int(ids.max()) + 1 for ids in (query, key) if ids.numel() > 0]
        size = max([1, *high])
        if size >= 2**31:  # Contexts times ids must fit 64 bits.
            known = torch.cat([query.reshape(-1), key.reshape(-1)]).unique()
            query = torch.where(query < 0, -1, torch.searchsorted(known, query))
            key = torch.where(key < 0, -1, torch.searchsorted(known, key))
            size = known.numel()
        out: list[Tensor] = []
        for ids in (query, key):
            cell, place = (ids >= 0).nonzero(as_tuple=True)
            out += [cell, batch[cell] * size + ids[cell, place]]
        return out[0], out[1], out[2], out[3]

    def to_edge_index(self, batch: Tensor, queries: Tensor | None = None) -> Tensor:
        r"""The mask as edges :obj:`[2, E]` from keys to queries, sorted by
        query and key.

        Args:
            batch (Tensor): Context of each cell :obj:`[N]`.
            queries (Tensor, optional): The only cells :obj:`[M]` that attend,
                all if not given. Edges still number all cells.
                (default: :obj:`None`)
        """
        query, query_id, key, key_id = self.entries(batch)
        if queries is not None:
            wanted = torch.zeros(self.num_cells, dtype=torch.bool, device=batch.device)
            wanted[queries] = True
            query, query_id = query[wanted[query]], query_id[wanted[query]]
        left, right = join(query_id, key_id)
        code = (query[left] * self.num_cells + key[right]).unique()
        if self.num_cells == 0:
            return code.new_empty(2, 0)
        return torch.stack([code % self.num_cells, code // self.num_cells])


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)


def _distinct(ids: Tensor) -> Tensor:
    ids = ids.long()
    if ids.dim() == 1:
        return ids.unsqueeze(1)
    if ids.size(1) < 2:
        return ids
    ids = ids.sort(dim=1).values
    out = ids.clone()
    out[:, 1:][ids[:, 1:] == ids[:, :-1]] = -1
    return out
