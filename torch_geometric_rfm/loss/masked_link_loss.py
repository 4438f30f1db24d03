import torch
from torch import Tensor
from torch_geometric.utils import scatter

from torch_geometric_rfm.nn.link_candidates import LinkCandidates


def link_loss(
    score: Tensor, candidates: LinkCandidates
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Of each hidden link :obj:`[M]` the cross entropy over its candidates, the rank
    of its parent among them, and whether there are others; see
    :class:`MaskedLinkLoss`.
    """
    if score.shape != candidates.row.shape:
        raise ValueError(
            f"'score' must have one entry a candidate (got {list(score.shape)} for "
            f'{candidates.row.numel()})'
        )
    candidates.check()
    link, size = candidates.link, candidates.num_links
    count = torch.bincount(link, minlength=size)
    logit = score.float() - candidates.log_q
    top = scatter(logit.detach(), link, dim_size=size, reduce='max')
    total = scatter((logit - top[link]).exp(), link, dim_size=size, reduce='sum')
    true = logit.new_zeros(size)
    true = true.index_put((link[candidates.truth],), logit[candidates.truth])
    loss = total.clamp(min=1e-38).log() + top - true
    # Equal scores share their ranks: a link among all equal ones is not found.
    difference = (logit - true[link]).detach()
    ahead = (difference > 0).float() + 0.5 * (difference == 0).float()
    rank = 0.5 + scatter(ahead, link, dim_size=size, reduce='sum')
    return loss, rank, count > 1


class MaskedLinkLoss(torch.nn.Module):
    r"""The cross entropy of each hidden link over its candidate parents,

    .. math::
        - \log \frac{\exp(s_{p^*} - \log q_{p^*})}
        {\sum_p \exp(s_p - \log q_p)}

    and its mean over the links. A link whose parent is the only candidate says
    nothing and is skipped; where all are, the loss is zero.

    Example:
        >>> from torch_geometric_rfm.nn import LinkCandidates
        >>> candidates = LinkCandidates(
        ...     link=torch.tensor([0, 0, 0]), row=torch.tensor([3, 4, 5]),
        ...     truth=torch.tensor([False, True, False]), log_q=torch.zeros(3),
        ...     num_links=1)
        >>> loss_fn = MaskedLinkLoss()
        >>> loss_fn(torch.tensor([0.0, 9.0, 0.0]), candidates)
        tensor(0.0002)
        >>> loss_fn.figures()
        {'accuracy': 1.0, 'mean_rank': 1.0, 'links': 1, 'skipped': 0}
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def forward(self, score: Tensor, candidates: LinkCandidates) -> Tensor:
        r"""The loss of scores of candidates.

        Args:
            score (Tensor): The scores :obj:`[P]`, without the correction.
            candidates (LinkCandidates): The candidates.

        Raises:
            ValueError: If scores do not fit the candidates, or those of a link
                lack its parent or hold it twice.
        """
        loss, rank, counted = link_loss(score, candidates)
        number = int(counted.sum())
        self._last = {
            'accuracy': _mean((rank == 1).float()[counted]),
            'mean_rank': _mean(rank[counted]),
            'links': number,
            'skipped': candidates.num_links - number,
        }
        return loss[counted].mean() if number else score.sum() * 0.0

    def figures(self) -> dict[str, float]:
        r"""Of the last call: the share of links whose parent has the best score,
        its mean rank, both 0 where no link counted, and the number of links that
        counted and did not.
        """
        return self._last

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}()'


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else 0.0
