from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.collate import collate

from torch_geometric_rfm.data.fkey_phrases import fkey_phrases

UNDATED = torch.iinfo(torch.int64).min
r"""Time of a row whose table has no time column: visible at all times."""


class CellData(Data):
    r"""A ragged batch of relational contexts, one node a cell.

    A cell is a present value of a feature column. :math:`N` cells lie in
    :math:`R` rows of :math:`B` contexts; cells of a row are consecutive, the
    first row of a context is its seed row. Strings and column phrases travel
    as indices into :obj:`text_embedding` and :obj:`column_embedding`. The last
    attributes, from :obj:`target_text_index` on, come with
    :class:`~torch_geometric_rfm.transforms.MaskCells`, where its arguments call for
    them; those of candidates with
    :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Attributes:
        value (Tensor): :obj:`[N]` normalised numbers, booleans and datetimes,
            zero for strings and for hidden cells.
        relative_time (Tensor): :obj:`[N]` for datetime cells the signed
            logarithm of the days from the seed time, otherwise zero.
        text_index (Tensor): :obj:`[N]` index into :obj:`text_embedding`,
            without meaning for cells that are no strings and for hidden ones.
        cell_type (Tensor): :obj:`[N]` values of
            :class:`~torch_geometric_rfm.data.CellType`.
        column (Tensor): :obj:`[N]` index into :obj:`column_embedding`.
        row (Tensor): :obj:`[N]` row of the cell.
        row_time (Tensor): :obj:`[R]` unix seconds.
        row_table (Tensor): :obj:`[R]` index into :obj:`table_names`.
        row_index (Tensor): :obj:`[R]` position of the row in its table.
        fkey_index (Tensor): :obj:`[2, E]` links from rows to parent rows.
        fkey_type (Tensor): :obj:`[E]` index into :obj:`fkey_names` and
            :obj:`fkey_embedding`.
        seed_row, seed_time, visible_until, input_id, epoch (Tensor): :obj:`[B]`.
        mask (Tensor): :obj:`[N]`, :obj:`True` where the value is hidden.
        target (Tensor): :obj:`[N]` the truth of cells to predict (normalised, 0
            and 1 for booleans, 0 for strings), NaN where unknown and elsewhere.
        column_quantiles (Tensor): :obj:`[C, 33]` for each column the edges of bins
            of equal shares, see
            :func:`~torch_geometric_rfm.data.column_quantiles`.
        copy_column (Tensor): :obj:`[C]` for each column the one whose unit its values
            have: its own, or for means of labels that of labels; its own where there is
            no such attribute.
        candidate_embedding (Tensor): :obj:`[K, text_channels]` the values that
            categories to predict may have.
        candidate_column (Tensor): :obj:`[K]` the column of each.
        target_candidate (Tensor): :obj:`[N]` the truth of categories to predict,
            among the candidates; without meaning where :obj:`target` is NaN and for
            other cells.
        batch, ptr (Tensor): :obj:`[N]`, :obj:`[B + 1]` context of each cell,
            in batches of a loader.
        target_text_index (Tensor): :obj:`[N]` the string, in
            :obj:`text_embedding`, of strings to predict; without meaning where
            :obj:`target` is NaN and for cells that are no strings.
        shown_mask (Tensor): :obj:`[N]`, :obj:`True` for cells to predict that
            show a value all the same, a random one or their own.
        fkey_target_index (Tensor): :obj:`[2, M]` links that were taken out of
            :obj:`fkey_index`, to be predicted.
        fkey_target_type (Tensor): :obj:`[M]` index into :obj:`fkey_names`.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_contexts=2, seed=0)
        >>> cells.num_contexts
        2
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key in ('row', 'seed_row', 'fkey_index', 'fkey_target_index'):
            return self.num_rows
        if key in ('text_index', 'target_text_index'):
            return self.text_embedding.size(0)
        if key == 'target_candidate':
            return self.candidate_embedding.size(0)
        if key in ('column', 'candidate_column', 'copy_column'):
            return self.column_embedding.size(0)
        if key in ('fkey_type', 'fkey_target_type'):
            phrases = self.get('fkey_embedding')
            return 0 if phrases is None else phrases.size(0)
        if key == 'batch':
            return self.num_contexts
        return 0

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return 1 if key in ('fkey_index', 'fkey_target_index') else 0

    @property
    def num_rows(self) -> int:
        r"""Number of rows :math:`R`."""
        return int(self.row_time.numel())

    @property
    def num_contexts(self) -> int:
        r"""Number of contexts :math:`B`."""
        return int(self.seed_row.numel())

    @property
    def num_hidden_links(self) -> int:
        r"""Number of links :math:`M` that were taken out, to be predicted."""
        hidden = self.get('fkey_target_index')
        return 0 if hidden is None else hidden.size(1)

    @property
    def batch_or_zeros(self) -> Tensor:
        r"""Context of each cell :obj:`[N]`, zeros for a single context."""
        if self.get('batch') is not None:
            return self.batch
        return self.value.new_zeros(self.value.numel(), dtype=torch.long)

    @property
    def phrases(self) -> list[str]:
        r"""Names of the columns :obj:`[C]`, in whatever way contexts were joined."""
        return _flat(self.column_names)

    @property
    def fkey_phrases(self) -> list[str]:
        r"""Phrases of the foreign keys :obj:`[F]`, as :obj:`phrases` has columns."""
        return fkey_phrases(_flat(self.fkey_names))

    @property
    def row_context(self) -> Tensor:
        r"""Context of each row :obj:`[R]`."""
        rows = torch.arange(self.num_rows, device=self.seed_row.device)
        return torch.searchsorted(self.seed_row, rows, right=True) - 1

    @property
    def predict_mask(self) -> Tensor:
        r"""Cells :obj:`[N]` that are to be predicted: hidden ones, and those that
        :class:`~torch_geometric_rfm.transforms.MaskCells` chose and left with a value.
        """
        shown = self.get('shown_mask')
        return self.mask if shown is None else self.mask | shown


def _flat(names: list[Any]) -> list[str]:
    # Batches of single contexts keep one list each.
    if names and isinstance(names[0], list):
        return [name for part in names for name in _flat(part)]
    return names


def concatenate(batches: list[CellData]) -> CellData:
    r"""Joins batches of one or several tasks into one.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = [random_cells(num_contexts=n, seed=n) for n in (1, 2)]
        >>> concatenate(cells).num_contexts
        3
    """
    if len(batches) == 1:
        return batches[0]
    for cells in batches:
        cells.batch = cells.batch_or_zeros
    _complete(batches)
    out, _, _ = collate(CellData, batches, add_batch=False)
    count = torch.bincount(out.batch, minlength=out.num_contexts)
    out.ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return out


def _complete(batches: list[CellData]) -> None:
    # What masking added to some batches alone, the others get without content.
    empty = {
        'target_text_index': lambda cells: torch.zeros_like(cells.column),
        'shown_mask': lambda cells: torch.zeros_like(cells.mask),
        'fkey_target_index': lambda cells: cells.fkey_index[:, :0],
        'fkey_target_type': lambda cells: cells.fkey_type[:0],
        'candidate_embedding': lambda cells: cells.text_embedding[:0],
        'candidate_column': lambda cells: cells.column[:0],
        'target_candidate': lambda cells: torch.zeros_like(cells.column),
        'copy_column': lambda cells: torch.arange(
            cells.column_embedding.size(0), device=cells.column.device
        ),
    }
    for key, make in empty.items():
        lacking = [cells for cells in batches if cells.get(key) is None]
        for cells in lacking if len(lacking) < len(batches) else []:
            cells[key] = make(cells)
