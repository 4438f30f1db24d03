from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask
from torch_geometric_rfm.nn.masks.edge_mask import EdgeMask


def dense_index(batch: Tensor, num_contexts: int, num_cells: int) -> Tensor:
    r"""Position of each cell in a padded layout of contexts.

    Args:
        batch (Tensor): Context of each cell :obj:`[N]`, in ascending order.
        num_contexts (int): Number of contexts :math:`B`.
        num_cells (int): Padded size :math:`S` of a context.

    Returns:
        Tensor: Positions :obj:`[N]` in :math:`[0, B \cdot S)`.

    Example:
        >>> dense_index(torch.tensor([0, 0, 1]), num_contexts=2, num_cells=4)
        tensor([0, 1, 4])
    """
    count = torch.bincount(batch, minlength=num_contexts)
    shift = torch.arange(num_contexts, device=batch.device) * num_cells
    shift = shift - (count.cumsum(0) - count)
    return torch.arange(batch.numel(), device=batch.device) + shift[batch]


@dataclass(eq=False)
class DenseMask(AttentionMask):
    r"""An attention mask over padded contexts, prepared once for all layers.

    Args:
        mask (Tensor, optional): Boolean :obj:`[B, Q, S]` with
            :obj:`mask[b, query, key]`, :obj:`False` wherever query or key is
            padding. :obj:`None` lets every query of a context attend to all
            cells, which is possible only where no key is padded.
        index (Tensor, optional): Position :obj:`[N]` of each cell in the
            padded layout of :math:`B \cdot S` cells, or :obj:`None` if nothing
            is padded, so that :math:`N = B \cdot S`.
        shape (tuple): :math:`B` and :math:`S`.
        query_index (Tensor, optional): Position :obj:`[M]` of each query in
            the padded layout of :math:`B \cdot Q` queries, or :obj:`None` if
            all cells are queries, so that :math:`Q = S`.
            (default: :obj:`None`)
        query_size (int, optional): :math:`Q`, needed with
            :obj:`query_index`. (default: :obj:`None`)

    Example:
        >>> mask = torch.eye(2, dtype=torch.bool).expand(3, 2, 2)
        >>> DenseMask(mask, None, (3, 2)).num_cells
        6
    """

    mask: Tensor | None
    index: Tensor | None
    shape: tuple[int, int]
    query_index: Tensor | None = None
    query_size: int | None = None

    num_cells: int = field(init=False)
    num_queries: int = field(init=False)
    attn_mask: Tensor | None = field(init=False, default=None)
    r"""Boolean :obj:`[B, 1, Q, S]` in which every query has a key."""
    empty: Tensor | None = field(init=False, default=None)
    r"""Boolean :obj:`[M, 1]`, :obj:`True` for queries without keys, or
    :obj:`None` if there are none."""

    def __post_init__(self) -> None:
        num_contexts, size = self.shape
        index, queries = self.index, self.query_index
        self.num_cells = num_contexts * size if index is None else index.numel()
        self.num_queries = self.num_cells if queries is None else queries.numel()
        if self.mask is None:
            if self.index is not None:
                raise ValueError(
                    "'mask' may be None only where nothing is padded "
                    "(got an 'index'); pass the mask of the real cells"
                )
            return
        if self.mask.dtype != torch.bool:
            raise TypeError(f"'mask' must be boolean (got {self.mask.dtype})")
        height = size if self.query_size is None else self.query_size
        if tuple(self.mask.shape) != (num_contexts, height, size):
            raise ValueError(
                f"'mask' must be of shape {[num_contexts, height, size]} "
                f'(got {list(self.mask.shape)})'
            )
        # Queries without keys (padding included) see everything, so that no
        # softmax runs over an empty set, and are cleared afterwards.
        keyless = ~self.mask.any(dim=-1, keepdim=True)  # [B, Q, 1]
        some = bool(keyless.any())
        mask = self.mask | keyless if some else self.mask
        self.attn_mask = mask.unsqueeze(1)
        keyless = keyless.reshape(-1, 1)
        if self._query_index is not None:
            keyless = keyless[self._query_index]
        self.empty = keyless if some and bool(keyless.any()) else None

    @classmethod
    def from_batch(cls, mask: Tensor, batch: Tensor | None) -> 'DenseMask':
        r"""Prepares a mask for cells given by their contexts.

        Args:
            mask (Tensor): Boolean :obj:`[B, S, S]`; what it says of padding is
                ignored.
            batch (Tensor, optional): Context of each cell :obj:`[N]`, in
                ascending order. :obj:`None` if nothing is padded.
        """
        if mask.dim() != 3 or mask.size(1) != mask.size(2):
            raise ValueError(
                f"'mask' must be of shape [B, S, S] (got {list(mask.shape)})"
            )
        num_contexts, size = mask.size(0), mask.size(1)
        if batch is None:
            return cls(mask, None, (num_contexts, size))
        if batch.numel() > 0:
            if bool((batch[1:] < batch[:-1]).any()):
                raise ValueError(
                    "'batch' must be in ascending order; sort the cells by context"
                )
            count = torch.bincount(batch)
            if count.numel() > num_contexts or int(count.max()) > size:
                raise ValueError(
                    f"'mask' is too small: {count.numel()} contexts of up to "
                    f"{int(count.max())} cells in 'batch' (got {list(mask.shape)})"
                )
        if batch.numel() == num_contexts * size:
            return cls(mask, None, (num_contexts, size))
        index = dense_index(batch, num_contexts, size)
        real = mask.new_zeros(num_contexts * size)
        real[index] = True
        real = real.view(num_contexts, size)
        mask = mask & real.unsqueeze(1) & real.unsqueeze(2)  # [B, S, S]
        return cls(mask, index, (num_contexts, size))

    @classmethod
    def from_edges(cls, edges: EdgeMask, batch: Tensor, queries: Tensor) -> 'DenseMask':
        r"""Prepares a mask of some queries, given by edges.

        Args:
            edges (EdgeMask): Edges to these queries.
            batch (Tensor): Context of each cell :obj:`[N]`, in ascending order.
            queries (Tensor): The cells :obj:`[M]` that attend.
        """
        num_contexts = int(batch.max()) + 1 if batch.numel() > 0 else 0
        size = int(torch.bincount(batch).max()) if batch.numel() > 0 else 0
        index = dense_index(batch, num_contexts, size)
        query_index, height = _line_index(batch[queries], num_contexts)
        source, target = edges.edge_index
        flat = torch.zeros(
            num_contexts * height * size, dtype=torch.bool, device=batch.device
        )
        flat[query_index[target] * size + index[source] % max(size, 1)] = True
        mask = flat.view(num_contexts, height, size)
        shape = (num_contexts, size)
        padded = index if batch.numel() < num_contexts * size else None
        return cls(mask, padded, shape, query_index, height)

    @property
    def _query_index(self) -> Tensor | None:
        return self.index if self.query_index is None else self.query_index

    @cached_property
    def num_keys(self) -> Tensor:  # type: ignore[override]
        r"""Number of keys of each query :obj:`[M]`."""
        if self.mask is None:
            device = None if self.query_index is None else self.query_index.device
            return torch.full((self.num_queries,), self.shape[1], device=device)
        out = self.mask.sum(dim=-1).view(-1)
        return out if self._query_index is None else out[self._query_index]

    def to_edge_index(self) -> Tensor:
        r"""The same mask as edges :obj:`[2, E]` from keys to queries."""
        num_contexts, size = self.shape
        height = size if self.query_size is None else self.query_size
        mask = self.mask
        if mask is None:
            mask = torch.ones(num_contexts, height, size, dtype=torch.bool)
            if self.query_index is not None:
                real = mask.new_zeros(num_contexts * height).to(self.query_index.device)
                real[self.query_index] = True
                mask = real.view(num_contexts, height, 1).expand(-1, -1, size)
        key_cell = _cells(self.index, num_contexts * size, mask.device)
        query_cell = _cells(self._query_index, num_contexts * height, mask.device)
        context, query, key = mask.nonzero(as_tuple=True)
        return torch.stack(
            [key_cell[context * size + key], query_cell[context * height + query]]
        )

    def select(self, queries: Tensor) -> 'DenseMask':
        r"""The lines of some queries."""
        num_contexts, size = self.shape
        position = queries if self.index is None else self.index[queries]
        context, line = position // max(size, 1), position % max(size, 1)
        query_index, height = _line_index(context, num_contexts)
        mask = self.mask
        if mask is not None:
            out = mask.new_zeros(num_contexts * height, size)
            out[query_index] = mask[context, line]
            mask = out.view(num_contexts, height, size)
        return DenseMask(mask, self.index, self.shape, query_index, height)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        r"""See :meth:`AttentionMask.attend`."""
        if query.size(0) == 0 or key.size(0) == 0:
            return query
        num_contexts, size = self.shape
        height = size if self.query_size is None else self.query_size
        index = self._query_index
        q = _pad(query, index, (num_contexts, height))
        k = _pad(key, self.index, (num_contexts, size))
        v = _pad(value, self.index, (num_contexts, size))
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=self.attn_mask, scale=scale
        )
        out = out.transpose(1, 2).flatten(0, 1)  # [B * Q, H, D]
        if index is not None:
            out = out.index_select(0, index)
        if self.empty is not None:
            out = out.masked_fill(self.empty.unsqueeze(2), 0.0)
        return out


def _line_index(context: Tensor, num_contexts: int) -> tuple[Tensor, int]:
    # Positions of queries, given by their contexts in any order, and the number
    # of lines of a context.
    ordered, order = context.sort(stable=True)
    count = torch.bincount(context, minlength=num_contexts)
    height = int(count.max()) if num_contexts > 0 else 0
    out = torch.empty_like(context)
    out[order] = dense_index(ordered, num_contexts, height)
    return out, height


def _pad(src: Tensor, index: Tensor | None, shape: tuple[int, int]) -> Tensor:
    if index is not None:
        padded = src.new_zeros(shape[0] * shape[1], *src.shape[1:])
        src = padded.index_copy(0, index, src)
    return src.unflatten(0, shape).transpose(1, 2)  # [B, H, S, D]


def _cells(index: Tensor | None, size: int, device: torch.device) -> Tensor:
    if index is None:
        return torch.arange(size, device=device)
    out = index.new_zeros(size)
    out[index] = torch.arange(index.numel(), device=device)
    return out
