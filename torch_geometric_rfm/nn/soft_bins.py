import torch
from torch import Tensor


def piecewise_linear(value: Tensor, edges: Tensor) -> Tensor:
    r"""How far values have come through each of their bins, from 0 to 1, as in the
    `"On Embeddings for Numerical Features in Tabular Deep Learning"
    <https://arxiv.org/abs/2203.05556>`_ paper.

    .. math::
        e_k = \min(1, \max(0, \frac{x - b_k}{b_{k+1} - b_k}))

    A bin without width, where many values are the same, has 0 below it, 1 above it
    and :math:`1/2` at it.

    Args:
        value (Tensor): Values :obj:`[M]`.
        edges (Tensor): Edges :obj:`[M, K + 1]` of the bins of each, rising.

    Returns:
        Tensor: Shares :obj:`[M, K]`.

    Example:
        >>> edges = torch.tensor([[0.0, 1.0, 3.0]])
        >>> piecewise_linear(torch.tensor([2.0]), edges)
        tensor([[1.0000, 0.5000]])
    """
    low, high = edges[:, :-1], edges[:, 1:]
    value = value.unsqueeze(1)
    width = high - low
    inside = (value - low) / torch.where(width > 0, width, 1.0)
    step = 0.5 + 0.5 * (value - low).sign()
    return torch.where(width > 0, inside, step).clamp(0.0, 1.0)


def soft_bins(value: Tensor, edges: Tensor) -> Tensor:
    r"""Values as weights of the two edges that they lie between.

    The weights sum to 1, and the edges so weighted to the value, unless it lies
    beyond the outer ones.

    Args:
        value (Tensor): Values :obj:`[M]`.
        edges (Tensor): Edges :obj:`[M, K + 1]` of the bins of each, rising.

    Returns:
        Tensor: Weights :obj:`[M, K + 1]`.

    Example:
        >>> edges = torch.tensor([[0.0, 1.0, 3.0]])
        >>> soft_bins(torch.tensor([2.0]), edges)
        tensor([[0.0000, 0.5000, 0.5000]])
    """
    rank = piecewise_linear(value, edges).sum(dim=1, keepdim=True)  # [M, 1]
    number = torch.arange(edges.size(1), device=edges.device)
    return (1.0 - (rank - number).abs()).clamp(min=0.0)
