import torch
from torch import Tensor


class SampledSoftmaxLoss(torch.nn.Module):
    r"""The cross entropy of each true destination against destinations that are not
    true, of which only some were drawn:

    .. math::
        - \log \frac{\exp(s_{i+})}{\exp(s_{i+}) + \sum_{j \notin T_i} w_j \exp(s_{ij})}

    with the true ones :math:`T_i` of source :math:`i`, and weights :math:`w_j`, how
    often :math:`j` was drawn over how often that was expected, so that the sum
    estimates that over all destinations without bias. It is the mean over the true
    ones of a source, then over sources. A source without a true candidate is
    skipped; where all are, the loss is zero.

    Example:
        >>> loss_fn = SampledSoftmaxLoss()
        >>> truth = torch.tensor([[True, False]])
        >>> loss_fn(torch.zeros(1, 2), truth, torch.zeros(2))
        tensor(0.6931)
    """

    def forward(self, score: Tensor, truth: Tensor, log_weight: Tensor) -> Tensor:
        r"""The loss of scores.

        Args:
            score (Tensor): :obj:`[B, D]`.
            truth (Tensor): :obj:`[B, D]` whether a destination is true.
            log_weight (Tensor): :obj:`[D]` the logarithm of the weights, minus
                infinity for those that were not drawn.
        """
        score = score.float()
        # Not infinity, of which the sum of none has no gradient:
        none = truth | (log_weight == -torch.inf)
        others = (score + log_weight).masked_fill(none, -1e30)
        total = others.logsumexp(dim=1, keepdim=True)  # [B, 1]
        loss = torch.logaddexp(score, total) - score  # [B, D]
        count = truth.sum(dim=1)
        mean = loss.masked_fill(~truth, 0.0).sum(dim=1) / count.clamp(min=1)
        counted = count > 0
        return mean[counted].mean() if bool(counted.any()) else score.sum() * 0.0

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}()'
