import math

import torch

from torch_geometric_rfm.loader.mixture_loader import MixtureLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn.check_inputs import check_inputs


class LossGuard:
    r"""Tells a loss that is not finite, or far above its running mean.

    Args:
        factor: A loss is bad above this multiple of the running mean.
        patience: Losses that must have been seen before that.

    Example:
        >>> guard = LossGuard(factor=10.0, patience=2)
        >>> [guard.is_bad(loss) for loss in (9.0, 1.0, 1.0, 60.0, float('nan'))]
        [False, False, False, True, True]
    """

    def __init__(self, factor: float, patience: int = 20) -> None:
        self.factor, self.patience = factor, patience
        self.reset()

    def is_bad(self, loss: float) -> bool:
        r"""Whether it is bad; a good one counts towards the mean."""
        limit = self.factor * self.mean
        if not math.isfinite(loss) or (self.count >= self.patience and loss > limit):
            return True
        self.count += 1
        self.mean += (loss - self.mean) / min(self.count, 50)
        return False

    def reset(self) -> None:
        r"""Forgets what it has seen."""
        self.mean, self.count = 0.0, 0

    def state_dict(self) -> dict[str, float]:
        r"""Its running mean."""
        return {'mean': self.mean, 'count': self.count}

    def load_state_dict(self, state: dict[str, float]) -> None:
        r"""Goes on from there."""
        self.mean, self.count = state['mean'], int(state['count'])


@torch.no_grad()
def find_culprit(
    network: torch.nn.Module,
    loader: MixtureLoader,
    position: int,
    loss_fn: MaskedCellLoss,
    device: torch.device,
) -> str:
    r"""Which database and column a bad loss comes from: the first that holds a value
    which is not finite, otherwise that of the largest loss.
    """
    worst, where = -1.0, ''
    for part, cells in loader.groups(position):
        try:
            check_inputs(cells)
        except ValueError as error:
            return f"database '{part.database}', task or table '{part.name}': {error}"
        cells = cells.to(device)
        loss_fn(network(cells, all_heads=True), cells)
        for column, value in loss_fn.column_figures().items():
            size = value if math.isfinite(value) else math.inf
            if size > worst:
                worst = size
                where = (
                    f"database '{part.database}', task or table '{part.name}', column "
                    f"'{column}' has a loss of {value:.4g}"
                )
    return where or 'no column of this process has a loss'
