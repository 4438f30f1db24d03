r"""Episodes of meta-learning: pretraining for weights that a task changes quickly."""

from typing import Any

import torch
from torch import Tensor

from torch_geometric_rfm.train.averaging import average_weights

_WARMUP = 0.2


def episode_warmup(position: int, episode_steps: int) -> float:
    r"""Factor of the learning rate of a batch: linear over the first fifth of its
    episode, as the optimizer begins anew.

    Example:
        >>> [episode_warmup(position, 10) for position in (0, 1, 2, 9, 10)]
        [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    return min(1.0, (position % episode_steps + 1) / (_WARMUP * episode_steps))


def start_episode(
    averaged: dict[str, Tensor], model: torch.nn.Module, optimizer: Any
) -> None:
    r"""Gives a model the weights that all episodes start from, and a new optimizer."""
    model.load_state_dict(averaged)
    # Lightning Fabric's wrapper may hold a state that is no longer in use.
    getattr(optimizer, 'optimizer', optimizer).state.clear()


def end_episode(
    averaged: dict[str, Tensor], model: torch.nn.Module, optimizer: Any, rate: float
) -> None:
    r"""Moves the weights that all episodes start from towards those that one of them
    came to, :math:`\bar{\theta} \leftarrow \bar{\theta} + \epsilon \, (\theta -
    \bar{\theta})` (Reptile, `"On First-Order Meta-Learning Algorithms"
    <https://arxiv.org/abs/1803.02999>`_, algorithm 1), and starts the next.

    Example:
        >>> model = torch.nn.Linear(1, 1)
        >>> averaged = {k: torch.zeros_like(v) for k, v in model.state_dict().items()}
        >>> weight = model.weight.detach().clone()
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> end_episode(averaged, model, optimizer, rate=0.5)
        >>> torch.equal(model.weight, 0.5 * weight)
        True
    """
    average_weights(averaged, model, 1 - rate)
    start_episode(averaged, model, optimizer)
