from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def clone_state(model: torch.nn.Module) -> dict[str, Tensor]:
    r"""A copy of the weights."""
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


@torch.no_grad()
def average_weights(
    averaged: dict[str, Tensor], model: torch.nn.Module, decay: float
) -> None:
    r"""Moves averaged weights towards those of a model:
    :math:`\bar{\theta} \leftarrow d \, \bar{\theta} + (1 - d) \, \theta`.

    Example:
        >>> model = torch.nn.Linear(1, 1)
        >>> averaged = clone_state(model)
        >>> average_weights(averaged, model, decay=0.9)
        >>> torch.equal(averaged['weight'], model.weight)
        True
    """
    state = model.state_dict()
    torch._foreach_lerp_(
        [averaged[name] for name in state], list(state.values()), 1 - decay
    )


@contextmanager
def weights_of(
    model: torch.nn.Module, state: dict[str, torch.Tensor]
) -> Iterator[None]:
    r"""Gives a model other weights for a while."""
    current = clone_state(model)
    model.load_state_dict(state)
    try:
        yield
    finally:
        model.load_state_dict(current)
