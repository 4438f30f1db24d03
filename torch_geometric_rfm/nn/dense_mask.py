from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


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
class DenseMask:
    r"""An attention mask over padded contexts, prepared once for all layers.

    Args:
        mask (Tensor, optional): Boolean :obj:`[B, S, S]` with
            :obj:`mask[b, query, key]`, :obj:`False` wherever query or key is
            padding. :obj:`None` lets every pair of a context attend, which is
            possible only where nothing is padded.
        index (Tensor, optional): Position :obj:`[N]` of each cell in the
            padded layout of :math:`B \cdot S` cells, or :obj:`None` if nothing
            is padded, so that :math:`N = B \cdot S`.
        shape (tuple): :math:`B` and :math:`S`.

    Example:
        >>> mask = torch.eye(2, dtype=torch.bool).expand(3, 2, 2)
        >>> DenseMask(mask, None, (3, 2)).num_cells
        6
    """

    mask: Tensor | None
    index: Tensor | None
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        num_contexts, size = self.shape
        if self.mask is None:
            if self.index is not None:
                raise ValueError(
                    "'mask' may be None only where nothing is padded "
                    "(got an 'index'); pass the mask of the real cells"
                )
            return
        if self.mask.dtype != torch.bool:
            raise TypeError(f"'mask' must be boolean (got {self.mask.dtype})")
        if tuple(self.mask.shape) != (num_contexts, size, size):
            raise ValueError(
                f"'mask' must be of shape {[num_contexts, size, size]} "
                f'(got {list(self.mask.shape)})'
            )

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

    @property
    def num_cells(self) -> int:
        r"""Number of cells :math:`N`, without padding."""
        if self.index is None:
            return self.shape[0] * self.shape[1]
        return self.index.numel()

    @cached_property
    def _keyless(self) -> Tensor | None:
        if self.mask is None:
            return None
        keyless = ~self.mask.any(dim=-1, keepdim=True)  # [B, S, 1]
        return keyless if bool(keyless.any()) else None

    @cached_property
    def attn_mask(self) -> Tensor | None:
        r"""Boolean :obj:`[B, 1, S, S]` in which every query has a key.

        Queries without keys (padding included) may see everything, so that no
        softmax runs over an empty set; :obj:`empty` says which outputs to
        clear.
        """
        if self.mask is None:
            return None
        mask = self.mask if self._keyless is None else self.mask | self._keyless
        return mask.unsqueeze(1)

    @cached_property
    def empty(self) -> Tensor | None:
        r"""Boolean :obj:`[N, 1]`, :obj:`True` for cells without keys, or
        :obj:`None` if there are none.
        """
        if self._keyless is None:
            return None
        empty = self._keyless.reshape(-1, 1)
        if self.index is not None:
            empty = empty[self.index]
        return empty if bool(empty.any()) else None

    @cached_property
    def num_keys(self) -> Tensor:
        r"""Number of keys of each query :obj:`[N]`."""
        num_contexts, size = self.shape
        if self.mask is None:
            return torch.full((self.num_cells,), size)
        count = self.mask.sum(dim=-1).view(-1)
        return count if self.index is None else count[self.index]

    def to_edge_index(self) -> Tensor:
        r"""The same mask as edges :obj:`[2, E]` from keys to queries."""
        num_contexts, size = self.shape
        mask = self.mask
        if mask is None:
            mask = torch.ones(num_contexts, size, size, dtype=torch.bool)
        cell = torch.arange(self.num_cells, device=mask.device)
        if self.index is not None:
            position = cell.new_zeros(num_contexts * size)
            position[self.index] = cell
            cell = position
        cell = cell.view(num_contexts, size)
        context, query, key = mask.nonzero(as_tuple=True)
        return torch.stack([cell[context, key], cell[context, query]])
