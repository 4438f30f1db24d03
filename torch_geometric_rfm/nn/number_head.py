import torch
from torch import Tensor

from torch_geometric_rfm.data.column_quantiles import NUM_BINS

LEVELS = tuple(round(0.05 * k, 2) for k in range(1, 20))
r"""The levels that a quantile head predicts: 5 % to 95 %."""

NUMBER_HEADS = {'value': 1, 'quantile': len(LEVELS), 'bins': NUM_BINS + 1}
r"""The heads of numbers, and how many outputs they have."""


def number_quantiles(
    output: Tensor, head: str, levels: Tensor, edges: Tensor
) -> Tensor:
    r"""Quantiles that a head of numbers predicts.

    The outputs of a quantile head are sorted, as in the `"Quantile and Probability
    Curves Without Crossing" <https://arxiv.org/abs/0704.3649>`_ paper, and read in
    between by linear interpolation. Those of a binned head are probabilities of the
    edges; up to an edge lies the probability of those below and half of its own.

    Args:
        output (Tensor): Outputs :obj:`[M, K]` of the head.
        head (str): :obj:`'quantile'` or :obj:`'bins'`.
        levels (Tensor): Levels :obj:`[L]`, strictly between 0 and 1.
        edges (Tensor): For :obj:`'bins'` the edges :obj:`[M, K]`.

    Returns:
        Tensor: Normalised values :obj:`[M, L]`.

    Raises:
        ValueError: If the head predicts values alone, or not as far out.

    Example:
        >>> output = torch.arange(19.0).unsqueeze(0)
        >>> levels = torch.tensor([0.05, 0.5])
        >>> number_quantiles(output, 'quantile', levels, output)
        tensor([[0., 9.]])
    """
    if head == 'bins':
        probability = output.double().softmax(dim=1)
        position = probability.cumsum(dim=1) - 0.5 * probability
        return _interpolate(levels.double(), position, edges.double()).to(output.dtype)
    if head != 'quantile':
        raise ValueError(
            f"quantiles need a model with number_head='quantile' or 'bins' (got "
            f'{head!r})'
        )
    known = levels.new_tensor(LEVELS)
    if bool((levels < known[0] - 1e-6).any() or (levels > known[-1] + 1e-6).any()):
        raise ValueError(
            f'a quantile head knows levels from {LEVELS[0]} to {LEVELS[-1]}, hence '
            f'intervals of at most 90 % (got {levels.tolist()})'
        )
    position = known.double().expand(output.size())
    values = output.double().sort(dim=1).values
    return _interpolate(levels.double(), position, values).to(output.dtype)


def _interpolate(at: Tensor, position: Tensor, value: Tensor) -> Tensor:
    # At [L] between rising positions [M, K] of values [M, K].
    at = at.expand(position.size(0), -1).contiguous()
    right = torch.searchsorted(position.contiguous(), at)
    right = right.clamp(1, position.size(1) - 1)
    low, high = position.gather(1, right - 1), position.gather(1, right)
    share = ((at - low) / (high - low).clamp(min=1e-12)).clamp(0.0, 1.0)
    return value.gather(1, right - 1).lerp(value.gather(1, right), share)
