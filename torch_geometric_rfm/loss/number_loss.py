import torch
from torch import Tensor

from torch_geometric_rfm.nn import soft_bins


def pinball_loss(output: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    r"""The quantile loss, whose minimum are the quantiles at some levels.

    .. math::
        \frac{2}{L} \sum_{l=1}^L \max(\tau_l (y - q_l), (\tau_l - 1) (y - q_l))

    Args:
        output (Tensor): Quantiles :obj:`[M, L]`.
        target (Tensor): Truths :obj:`[M]`.
        levels (Tensor): The levels :math:`\tau` :obj:`[L]`.

    Returns:
        Tensor: Losses :obj:`[M]`; of the median alone it is the absolute error.

    Example:
        >>> levels = torch.tensor([0.5])
        >>> pinball_loss(torch.tensor([[1.0]]), torch.tensor([3.0]), levels)
        tensor([2.])
    """
    error = target.unsqueeze(1) - output
    return 2 * torch.maximum(levels * error, (levels - 1) * error).mean(dim=1)


def binned_cross_entropy(output: Tensor, target: Tensor, edges: Tensor) -> Tensor:
    r"""Cross entropy between the predicted probabilities of edges and the truth,
    which is shared between the two edges that it lies between.

    Args:
        output (Tensor): Logits :obj:`[M, K]`.
        target (Tensor): Truths :obj:`[M]`.
        edges (Tensor): The edges :obj:`[M, K]` of the bins of each.

    Returns:
        Tensor: Losses :obj:`[M]`.

    Example:
        >>> edges = torch.tensor([[0.0, 1.0]])
        >>> binned_cross_entropy(torch.zeros(1, 2), torch.tensor([0.3]), edges)
        tensor([0.6931])
    """
    weight = soft_bins(target, edges)
    return -(weight * output.log_softmax(dim=1)).sum(dim=1)
