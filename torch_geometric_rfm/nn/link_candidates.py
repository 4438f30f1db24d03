from typing import NamedTuple

import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData

WITHIN = ('context', 'batch')
SAMPLING = ('random', 'popular')


class LinkCandidates(NamedTuple):
    r"""The parent rows among which each hidden link is to be found.

    Args:
        link: :obj:`[P]` index into :obj:`fkey_target_index`, in order.
        row: :obj:`[P]` candidate row.
        truth: :obj:`[P]` whether it is the parent.
        log_q: :obj:`[P]` what is subtracted from its score: the logarithm of how
            often it is a candidate.
        num_links: Number of hidden links :math:`M`.
    """

    link: Tensor
    row: Tensor
    truth: Tensor
    log_q: Tensor
    num_links: int

    def check(self) -> 'LinkCandidates':
        r"""Itself, if each link has its parent among its candidates, once.

        Raises:
            ValueError: If candidates lack the truth, have it more than once, or
                a row stands for a link as truth and not.
        """
        true = torch.bincount(self.link[self.truth], minlength=self.num_links)
        wrong = (true != 1).nonzero().view(-1)
        if wrong.numel():
            link = int(wrong[0])
            raise ValueError(
                f'the candidates of link {link} must hold its parent once (got it '
                f'{int(true[link])} times); add the true row, or drop the link or the '
                'duplicate'
            )
        parent = self.row.new_full((self.num_links,), -1)
        parent[self.link[self.truth]] = self.row[self.truth]
        double = (self.row == parent[self.link]) & ~self.truth
        if bool(double.any()):
            where = int(double.nonzero()[0])
            raise ValueError(
                f'row {int(self.row[where])} stands twice among the candidates of link '
                f'{int(self.link[where])}, once as its parent and once not; keep one'
            )
        return self


class LinkScores(NamedTuple):
    r"""What a model says of hidden links.

    Args:
        score: :obj:`[P]` the score of each candidate, without the correction.
        candidates: The candidates.
    """

    score: Tensor
    candidates: LinkCandidates


def link_candidates(
    cells: CellData,
    within: str = 'context',
    num_sampled: int | None = None,
    sampling: str = 'popular',
    generator: torch.Generator | None = None,
) -> LinkCandidates:
    r"""For each hidden link the rows that may be its parent, the parent included.

    With :obj:`'context'`, they are the rows of the parent's table in the context of
    the link. With :obj:`'batch'`, they are the distinct database rows of that table
    in the whole batch, each represented by its first occurrence, and scores are
    corrected by the logarithm of the share of contexts that hold the row: rows that
    many others link to are candidates more often, not better ones
    (`"Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations" <https://doi.org/10.1145/3298689.3346996>`_).

    With :obj:`num_sampled`, each link keeps its parent and that many other rows of
    those, drawn with replacement, and the scores of these are corrected so that the
    sum of their exponentials estimates that of all.

    .. note::
        A parent to which only the hidden link leads stays in its context, and a
        candidate of the batch may be the row of another context, which shows the link.
        Where attention reaches such rows, as full attention does, they give it away.

    Args:
        cells (CellData): Contexts with hidden links.
        within (str, optional): :obj:`'context'` or :obj:`'batch'`.
            (default: :obj:`'context'`)
        num_sampled (int, optional): Number of rows to draw; all if not given.
            (default: :obj:`None`)
        sampling (str, optional): :obj:`'random'` draws all rows alike,
            :obj:`'popular'` in proportion to one plus the links that lead to them.
            (default: :obj:`'popular'`)
        generator (torch.Generator, optional): Source of the draws.
            (default: :obj:`None`)

    Raises:
        ValueError: If an argument is unknown, no links are hidden, or contexts of
            several databases share a batch.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> from torch_geometric_rfm.transforms import MaskCells
        >>> cells = MaskCells('foreign_key')(random_cells(num_contexts=2))
        >>> candidates = link_candidates(cells)
        >>> int(candidates.truth.sum()) == candidates.num_links
        True
    """
    if within not in WITHIN:
        raise ValueError(f"'within' must be one of {WITHIN} (got {within!r})")
    if sampling not in SAMPLING:
        raise ValueError(f"'sampling' must be one of {SAMPLING} (got {sampling!r})")
    if num_sampled is not None and num_sampled < 1:
        raise ValueError(f"'num_sampled' must be positive (got {num_sampled})")
    target = cells.get('fkey_target_index')
    if target is None:
        raise ValueError(
            "'cells' have no hidden links; hide some with MaskCells('foreign_key')"
        )
    parent = target[1]
    rows = torch.arange(cells.num_rows, device=parent.device)
    if within == 'context':
        group, log_q = cells.row_context * (1 + int(cells.row_table.max())), None
        group = group + cells.row_table
    else:
        _check_one_database(cells)
        first, share = _first_occurrence(cells)
        group, log_q = cells.row_table, share.log()
        rows, parent = rows[first == rows], first[parent]
    # Pairs of a link and a row of its group.
    order = rows[torch.argsort(group[rows], stable=True)]
    count = torch.bincount(group[rows], minlength=int(group.max()) + 1)
    start = count.cumsum(0) - count
    size = count[group[parent]]
    link = torch.repeat_interleave(
        torch.arange(parent.numel(), device=rows.device), size
    )
    rank = torch.arange(link.numel(), device=rows.device)
    rank = rank - (size.cumsum(0) - size)[link]
    row = order[start[group[parent]][link] + rank]
    truth = row == parent[link]
    correction = torch.zeros(row.numel(), device=row.device)
    if log_q is not None:
        correction = log_q[row]
    out = LinkCandidates(link, row, truth, correction, parent.numel())
    if num_sampled is None:
        return out
    weight = torch.ones(cells.num_rows, device=row.device)
    if sampling == 'popular':
        own = parent if within == 'batch' else target[1]
        led = cells.fkey_index[1]
        led = first[led] if within == 'batch' else led
        weight = weight.index_add(0, led, weight.new_ones(led.numel()))
        weight = weight.index_add(0, own, weight.new_ones(own.numel()))
    return _sample(out, weight, num_sampled, generator)


def _first_occurrence(cells: CellData) -> tuple[Tensor, Tensor]:
    r"""For each row the first that is the same row of the database, and the share
    of contexts that hold it.
    """
    pairs = torch.stack([cells.row_table, cells.row_index])
    _, inverse, count = pairs.unique(dim=1, return_inverse=True, return_counts=True)
    rows = torch.arange(inverse.numel(), device=inverse.device)
    first = rows.new_full((count.numel(),), rows.numel())
    first = first.scatter_reduce(0, inverse, rows, 'amin')
    return first[inverse], count[inverse].float() / cells.num_contexts


def _sample(
    full: LinkCandidates,
    weight: Tensor,
    num_sampled: int,
    generator: torch.Generator | None,
) -> LinkCandidates:
    others = (~full.truth).nonzero().view(-1)
    link = full.link[others]
    total = weight.new_zeros(full.num_links)
    total = total.index_add(0, link, weight[full.row[others]])
    has = total > 0
    # Inverse transform: one running sum through all links.
    mass = (weight[full.row[others]] / total[link]).double().cumsum(0)
    before = has.cumsum(0).double() - has.double()
    chosen = has.nonzero().view(-1).repeat_interleave(num_sampled)
    draw = torch.rand(chosen.numel(), generator=generator, dtype=torch.float64)
    point = before[chosen] + draw.to(mass.device)
    index = torch.searchsorted(mass, point, right=True)
    # Rounding must not lead into the next link.
    end = torch.bincount(link, minlength=full.num_links).cumsum(0)
    index = others[torch.minimum(index, end[chosen] - 1)]
    probability = weight[full.row[index]] / total[chosen]
    log_q = full.log_q[index] + (probability * num_sampled).log()
    true = full.truth.nonzero().view(-1)
    keep = torch.cat([true, index])
    correction = torch.cat([full.log_q[true], log_q])
    order = torch.argsort(full.link[keep], stable=True)
    keep = keep[order]
    return LinkCandidates(
        full.link[keep],
        full.row[keep],
        full.truth[keep],
        correction[order],
        full.num_links,
    )


def _check_one_database(cells: CellData) -> None:
    names = cells.table_names
    if names and isinstance(names[0], list) and any(n != names[0] for n in names):
        raise ValueError(
            'candidates of a batch must be of one database and task (got contexts of '
            "several); use within='context'"
        )
