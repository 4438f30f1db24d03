from typing import NamedTuple

import torch
from torch import Tensor

from torch_geometric_rfm.transforms.masking.mask_strategy import MaskStrategy
from torch_geometric_rfm.transforms.masking.masking_view import MaskingView
from torch_geometric_rfm.transforms.masking.random_draws import (
    CORRUPTION,
    PICK,
    RATE,
    uniform,
)

HIDDEN, RANDOM, UNCHANGED = range(3)
r"""What becomes of a chosen cell."""


class Choice(NamedTuple):
    r"""What is to be predicted.

    Args:
        cells: :obj:`[N]` the chosen cells.
        fate: :obj:`[N]` what becomes of each.
        links: :obj:`[E]` the chosen links.
    """

    cells: Tensor
    fate: Tensor
    links: Tensor


def draw_rates(keys: Tensor, low: float, high: float) -> Tensor:
    r"""A rate for each context :obj:`[B]`."""
    return low + (high - low) * uniform(keys, RATE)


def choose(
    view: MaskingView,
    keys: Tensor,
    strategies: list[tuple[MaskStrategy, float]],
    corruption: tuple[float, float, float],
) -> Choice:
    r"""Lets each context draw a strategy, and the strategy its cells and links.

    Args:
        view: The cells and links to choose from.
        keys: :obj:`[B]` the keys of the contexts.
        strategies: Strategies and weights, which sum to 1.
        corruption: See :class:`~torch_geometric_rfm.transforms.MaskCells`.
    """
    cells = torch.zeros_like(view.eligible)
    links = torch.zeros_like(view.link_eligible)
    draw, end = uniform(keys, PICK), 0.0
    for i, (strategy, weight) in enumerate(strategies):
        # Rounding must not leave a context without a strategy.
        start, end = end, 2.0 if i == len(strategies) - 1 else end + weight
        part = view.within((draw >= start) & (draw < end))
        chosen = strategy.cells(part)
        if chosen is not None:
            cells |= chosen & part.eligible
        chosen = strategy.links(part) if strategy.hides_links else None
        if chosen is not None:
            links |= chosen & part.link_eligible
    fate = uniform(view.cell_key, CORRUPTION)
    hidden, random = corruption[0], corruption[0] + corruption[1]
    if corruption[2] == 0.0:
        random = 1.0
    return Choice(cells, (fate >= hidden).long() + (fate >= random).long(), links)
