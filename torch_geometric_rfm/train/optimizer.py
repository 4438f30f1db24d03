import os
from typing import Any, cast

import torch


def parameter_groups(
    model: torch.nn.Module, weight_decay: float
) -> list[dict[str, Any]]:
    r"""Matrices with weight decay; norms, biases and lone vectors without."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    return [
        {'params': matrices, 'weight_decay': weight_decay},
        {'params': others, 'weight_decay': 0.0},
    ]


class RegenerativeAdamW(torch.optim.AdamW):
    r"""AdamW whose weight decay draws weights to where they were when it was made, in
    place of zero: the decoupled form of L2 Init (`"Maintaining Plasticity in Continual
    Learning via Regenerative Regularization" <https://arxiv.org/abs/2308.11958>`_)
    where they were random, of L2-SP (`"Explicit Inductive Bias for Transfer Learning
    with Convolutional Networks" <https://arxiv.org/abs/1802.01483>`_) where they were
    pretrained.

    Directions that long training has no use for stay as they were, for later tasks to
    take up, and do not die out.

    Args:
        groups (list): Groups of parameters.
        **options: Of :class:`torch.optim.AdamW`.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2, 2))
        >>> optimizer = RegenerativeAdamW([{'params': [weight]}], weight_decay=0.1)
        >>> weight.grad = torch.zeros(2, 2)
        >>> optimizer.step()
        >>> weight.tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        r"""Adds parameters; see :class:`torch.optim.Optimizer`. Where they are now is
        part of the state.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        start = [parameter.detach().clone() for parameter in group['params']]
        group.setdefault('start', start)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        r"""Performs one step; see :class:`torch.optim.AdamW`."""
        loss = super().step(closure)
        for group in self.param_groups:
            pull, start = group['lr'] * group['weight_decay'], group['start']
            for i, parameter in enumerate(group['params']):
                if parameter.grad is None or not pull:
                    continue  # It was not decayed either.
                start[i] = start[i].to(parameter.device)
                parameter.add_(start[i], alpha=pull)
        return loss


def make_optimizer(
    model: torch.nn.Module,
    lr: float,
    weight_decay: float,
    decay_to_start: bool = False,
) -> torch.optim.Optimizer:
    r"""AdamW for a transformer, or :class:`RegenerativeAdamW`."""
    groups = parameter_groups(model, weight_decay)
    kind = RegenerativeAdamW if decay_to_start else torch.optim.AdamW
    return kind(groups, lr=lr, betas=(0.9, 0.95))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    r"""Sets the learning rate of all groups."""
    for group in optimizer.param_groups:
        group['lr'] = lr


def make_fabric(accelerator: str, precision: str, distributed: bool = False) -> Any:
    r"""Lightning Fabric, which places models, optimizers and processes.

    Args:
        accelerator: The accelerator of Fabric.
        precision: The precision of Fabric.
        distributed: Whether the processes of :obj:`torchrun`, if it started this
            one, work together.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise ImportError(
            'Lightning Fabric is needed to train: '
            'pip install "torch-geometric-rfm[train]"'
        ) from error
    size = int(os.environ.get('WORLD_SIZE', 1)) if distributed else 1
    local = int(os.environ.get('LOCAL_WORLD_SIZE', size)) if distributed else 1
    fabric = Fabric(
        accelerator=accelerator,
        devices=local,
        num_nodes=size // local,
        # A batch need not have cells of all types, hence of all weights.
        strategy=DDPStrategy(find_unused_parameters=True) if size > 1 else 'auto',
        precision=cast(Any, precision),
    )
    if size > 1:
        fabric.launch()
    return fabric
