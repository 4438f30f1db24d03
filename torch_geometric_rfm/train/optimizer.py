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


def make_optimizer(
    model: torch.nn.Module, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    r"""AdamW for a transformer."""
    groups = parameter_groups(model, weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


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
