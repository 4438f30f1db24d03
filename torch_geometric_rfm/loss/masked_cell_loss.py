from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.loss.masked_link_loss import link_loss
from torch_geometric_rfm.loss.number_loss import binned_cross_entropy, pinball_loss
from torch_geometric_rfm.loss.string_loss import (
    category_loss,
    cosine_loss,
    has_strings,
    text_loss,
)
from torch_geometric_rfm.nn import CellOutput
from torch_geometric_rfm.nn.number_head import LEVELS

_SCALARS = (CellType.NUMBER, CellType.BOOLEAN, CellType.DATETIME)
LINK = 'link'
CellLoss = Callable[[Tensor, Tensor], Tensor]
r"""A loss of :math:`n` outputs and truths, for each of them."""


class MaskedCellLoss(torch.nn.Module):
    r"""The loss of predicted values at the cells to predict whose truth is known.

    Of values alone, the Huber loss for numbers and datetimes, binary cross entropy
    with logits for booleans; strings do not count. Of the outputs of all heads
    (:obj:`model(cells, all_heads=True)`) also those of strings, and of the heads of
    numbers:

    .. list-table::
       :widths: 20 80

       * - number
         - Huber; the pinball loss of a quantile head, and cross entropy of a binned
           one
       * - category
         - cross entropy over the candidates of the column
       * - text
         - cross entropy over the different texts of the batch (InfoNCE)
       * - embedding
         - one minus the cosine
       * - link
         - cross entropy over the candidate parents of a hidden link, of models with
           :obj:`link_head=True`; where there are several, and visible links from
           other children lead to the parent, which without any would be known by
           that

    Categories count in contexts with candidates alone, as a
    :class:`~torch_geometric_rfm.loader.ContextLoader` makes them. A context in which
    no cell and no link counts is skipped; where all are, the loss is zero.

    Args:
        huber_delta (float, optional): The error :math:`\delta` beyond which the Huber
            loss is linear. It is divided by :math:`\delta`, so that its slope is one
            there: numbers and booleans weigh alike for any :math:`\delta`.
            (default: :obj:`1.0`)
        reduction (str, optional): With :obj:`'cell'`, the mean over the cells and
            links. With :obj:`'context'`, the mean over those of each context, then
            over the contexts that have any. (default: :obj:`'cell'`)
        losses (dict, optional): For a cell type, as :obj:`'number'`, another loss:
            :obj:`'huber'`, :obj:`'l1'`, :obj:`'mse'`, :obj:`'bce'`, or a function
            of :math:`n` outputs and truths that returns :math:`n` losses.
            (default: :obj:`None`)
        weights (dict, optional): For a cell type, or :obj:`'link'`, a factor of its
            losses, otherwise 1. With 0 it does not count. (default: :obj:`None`)

    Attributes:
        last_figures (dict): Of the last call, the mean loss of each cell type, and of
            links, that counted, before the factor and without gradient.
        last_skipped (int): Of the last call, the contexts that were skipped.
        last_retrieval (dict): Of the last call, for categories, texts and links that
            counted, the share whose truth had the highest score
            (:obj:`'text_recall@1'`) and the mean of one over its place
            (:obj:`'text_mrr'`).

    Shapes:
        - **input:** values :math:`(N)` or the outputs of all heads, contexts of
          :math:`N` cells
        - **output:** a scalar

    Raises:
        ValueError: If an argument is out of range, or a cell type or loss unknown.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_contexts=2)
        >>> loss_fn = MaskedCellLoss(losses={'number': 'l1'})
        >>> bool(loss_fn(torch.zeros(cells.num_nodes), cells) > 0)
        True
        >>> loss_fn.column_figures()
        {'column_0 of table_0': ...}
    """

    def __init__(
        self,
        huber_delta: float = 1.0,
        reduction: str = 'cell',
        losses: Mapping[str, str | CellLoss] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if not huber_delta > 0.0:
            raise ValueError(f"'huber_delta' must be positive (got {huber_delta})")
        if reduction not in ('cell', 'context'):
            raise ValueError(
                f"'reduction' must be 'cell' or 'context' (got '{reduction}')"
            )
        self.huber_delta = huber_delta
        self.reduction = reduction
        named: dict[str, CellLoss] = {
            # The Huber loss over its delta.
            'huber': partial(F.smooth_l1_loss, reduction='none', beta=huber_delta),
            'l1': partial(F.l1_loss, reduction='none'),
            'mse': partial(F.mse_loss, reduction='none'),
            'bce': partial(F.binary_cross_entropy_with_logits, reduction='none'),
        }
        self.losses = {
            kind: named['bce' if kind == CellType.BOOLEAN else 'huber']
            for kind in _SCALARS
        }
        for name, loss in (losses or {}).items():
            if not callable(loss) and loss not in named:
                raise ValueError(
                    f"'losses' must be functions or of {', '.join(map(repr, named))} "
                    f'(got {loss!r} for {name!r})'
                )
            kind = CellType.from_name(name)
            if kind not in _SCALARS:
                raise ValueError(
                    "'losses' must be of number, boolean or datetime, which have one "
                    f"output a cell (got '{name}')"
                )
            self.losses[kind] = loss if callable(loss) else named[loss]
        self.chosen = {CellType.from_name(name) for name in losses or {}}
        self.weights, self.link_weight = dict.fromkeys(CellType, 1.0), 1.0
        for name, weight in (weights or {}).items():
            if not 0.0 <= weight < float('inf'):
                raise ValueError(
                    f"'weights' must be at least 0 (got {weight} for {name!r})"
                )
            if name == LINK:
                self.link_weight = float(weight)
            else:
                self.weights[CellType.from_name(name)] = float(weight)
        if not any(self.weights.values()) and not (weights or {}).get(LINK):
            raise ValueError(
                f"one of the 'weights' must be above 0 (got {dict(weights or {})})"
            )
        self.last_figures: dict[str, Tensor] = {}
        self.last_skipped = 0
        self.last_retrieval: dict[str, Tensor] = {}
        self._last_cells: tuple[Tensor, Tensor, list[str]] | None = None

    def forward(self, output: Tensor | CellOutput, cells: CellData) -> Tensor:
        r"""Computes the loss.

        Args:
            output (Tensor or CellOutput): The predicted values :obj:`[N]`, or the
                outputs of all heads.
            cells (CellData): The contexts.
        """
        heads = output if isinstance(output, CellOutput) else None
        value = heads.value if heads is not None else output
        assert isinstance(value, Tensor)
        if heads is None and value.size() != cells.target.size():
            raise ValueError(
                f"'output' must hold one value for each of the {cells.num_nodes} "
                f'cells (got shape {list(value.shape)})'
            )
        self.last_figures, self.last_retrieval = {}, {}
        index = self._counted(cells, heads is not None)
        of_links, context_of_links, column_of_links = self._links(heads, cells)
        batch = torch.cat([cells.batch_or_zeros[index], context_of_links])
        count = torch.bincount(batch, minlength=cells.num_contexts)
        self.last_skipped = int((count == 0).sum())
        self._last_cells = None
        if batch.numel() == 0:
            return 0.0 * (value.sum() if heads is None else _sum(heads))

        kinds = cells.cell_type[index]
        places, parts = [], []
        for kind in map(CellType, kinds.unique().tolist()):
            at = (kinds == kind).nonzero().view(-1)
            if heads is None:
                target = cells.target[index[at]].to(value.dtype)
                part = self.losses[kind](value[index[at]], target)
            else:
                part = self._loss_of_heads(kind, heads, index[at], cells)
            self.last_figures[kind.name.lower()] = part.detach().mean()
            places.append(at)
            parts.append((part, part * self.weights[kind]))
        # In the order of the cells again, links behind them; under autocast losses
        # differ in precision.
        places.append(torch.arange(index.numel(), batch.numel(), device=batch.device))
        parts.append((of_links, of_links * self.link_weight))
        order = torch.cat(places).argsort()
        loss, weighted = (torch.cat(x)[order] for x in zip(*parts))
        loss = loss.detach()
        column = torch.cat([cells.column[index], column_of_links])
        self._last_cells = loss, column, _names(cells, column_of_links.numel() > 0)
        if self.reduction == 'cell':
            return weighted.mean()
        share = count[batch].to(loss.dtype).reciprocal()
        return (weighted * share).sum() / (count > 0).sum()

    def _counted(self, cells: CellData, all_heads: bool) -> Tensor:
        # The cells to predict whose truth is known and whose type counts.
        known = cells.predict_mask & ~cells.target.isnan()
        counted = [
            int(kind)
            for kind, weight in self.weights.items()
            if weight > 0
            and (kind in _SCALARS or (all_heads and has_strings(cells, kind)))
        ]
        types = torch.tensor(counted, dtype=torch.long, device=known.device)
        return (known & torch.isin(cells.cell_type, types)).nonzero().view(-1)

    def _links(
        self, heads: CellOutput | None, cells: CellData
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Of the hidden links that count their losses and contexts, and their keys,
        # which are numbered behind the columns.
        none = cells.column[:0]
        if heads is None or heads.links is None or not self.link_weight:
            return cells.value[:0], none, none
        loss, rank, counted = link_loss(*heads.links)
        # A parent without other children is known by having none left.
        counted &= _has_other_children(cells)
        if not bool(counted.any()):
            return cells.value[:0], none, none
        loss, rank = loss[counted], rank[counted]
        self.last_figures[LINK] = loss.detach().mean()
        self.last_retrieval['link_recall@1'] = (rank == 1).float().mean()
        self.last_retrieval['link_mrr'] = rank.reciprocal().mean()
        child = cells.fkey_target_index[0][counted]
        key = cells.fkey_target_type[counted] + cells.column_embedding.size(0)
        return loss, cells.row_context[child], key

    def _loss_of_heads(
        self, kind: CellType, heads: CellOutput, index: Tensor, cells: CellData
    ) -> Tensor:
        # Outputs of a type stand in the order of its cells.
        at = torch.searchsorted(heads.index, index)
        if kind in _SCALARS:
            target = cells.target[index].to(heads.value.dtype)
            has_values = kind != CellType.NUMBER or heads.number_head == 'value'
            if not has_values and kind not in self.chosen:
                place = _place(heads.cell_type == kind, at)
                return _number_loss(heads, place, target)
            return self.losses[kind](heads.value[at], target)
        embedding = heads.embedding[_place(heads.cell_type >= CellType.CATEGORY, at)]
        if kind == CellType.EMBEDDING:
            truth = cells.text_embedding[cells.target_text_index[index]]
            return cosine_loss(embedding, truth)
        choose = category_loss if kind == CellType.CATEGORY else text_loss
        loss, rank = choose(embedding, index, cells)
        name = kind.name.lower()
        self.last_retrieval[f'{name}_recall@1'] = (rank == 1).float().mean()
        self.last_retrieval[f'{name}_mrr'] = rank.float().reciprocal().mean()
        return loss

    def column_figures(self) -> dict[str, float]:
        r"""The mean loss of each column, and of each foreign key with hidden links,
        that counted in the last call, before the factor of its type, by its phrase.
        """
        if self._last_cells is None or not self._last_cells[2]:
            return {}
        loss, column, names = self._last_cells
        phrases = sorted({names[i] for i in column.unique().tolist()})
        place = {phrase: i for i, phrase in enumerate(phrases)}
        number = torch.tensor([place.get(name, -1) for name in names])
        group = number.to(column.device)[column]
        total = loss.new_zeros(len(phrases)).index_add_(0, group, loss)
        mean = total / torch.bincount(group, minlength=len(phrases))
        return dict(zip(phrases, mean.tolist()))

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(huber_delta={self.huber_delta}, '
            f"reduction='{self.reduction}')"
        )


def _has_other_children(cells: CellData) -> Tensor:
    # Of hidden links [M], whether another row visibly leads to their parent.
    def pairs(index: Tensor) -> Tensor:
        return index[0] * cells.num_rows + index[1]

    parent = cells.fkey_target_index[1]
    links = torch.bincount(cells.fkey_index[1], minlength=cells.num_rows)[parent]
    visible, hidden = pairs(cells.fkey_index), pairs(cells.fkey_target_index)
    visible = visible.sort().values
    own = torch.searchsorted(visible, hidden, right=True)
    own = own - torch.searchsorted(visible, hidden)
    return links > own


def _names(cells: CellData, with_links: bool) -> list[str]:
    # Phrases of columns, and of foreign keys behind them; none if some have none.
    if 'column_names' not in cells or (with_links and 'fkey_names' not in cells):
        return []
    return [*cells.phrases, *cells.fkey_phrases] if with_links else cells.phrases


def _place(chosen: Tensor, at: Tensor) -> Tensor:
    # Where those at `at` stand among the chosen.
    return (chosen.cumsum(0) - 1)[at]


def _number_loss(heads: CellOutput, place: Tensor, target: Tensor) -> Tensor:
    output = heads.number[place]
    if heads.edges is not None:
        return binned_cross_entropy(output, target, heads.edges[place])
    levels = torch.tensor(LEVELS, dtype=output.dtype, device=output.device)
    return pinball_loss(output, target, levels)


def _sum(heads: CellOutput) -> Tensor:
    total = heads.value.sum() + heads.embedding.sum() + heads.number.sum()
    return total if heads.links is None else total + heads.links.score.sum()
