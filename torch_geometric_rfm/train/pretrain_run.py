import copy
import warnings
from pathlib import Path
from typing import Any

import torch

from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train.averaging import average_weights, clone_state
from torch_geometric_rfm.train.bad_batch import LossGuard
from torch_geometric_rfm.train.pretrain_config import PretrainConfig
from torch_geometric_rfm.train.report import MetricsLog
from torch_geometric_rfm.train.schedule import Budget


class PretrainRun:
    r"""Everything that a run of pretraining goes on from.

    Args:
        folder: The folder of the run.
        model: The model.
        optimizer: Its optimizer.
        averaged: The moving average of its weights, or those that episodes start from.
        config: How to train.
    """

    def __init__(
        self,
        folder: Path,
        model: RelationalTransformer,
        optimizer: Any,
        averaged: dict[str, torch.Tensor],
        config: PretrainConfig,
    ) -> None:
        self.model, self.optimizer, self.averaged = model, optimizer, averaged
        self.config = config
        self.budget = Budget(config.num_steps, config.minutes)
        self.log = MetricsLog(folder)
        patience = max(2, config.episode_steps // 5) if config.episode_steps else 20
        self.guard = LossGuard(config.explosion, patience)
        self.position = self.contexts = self.logged = 0
        self.losses: list[float] = []
        self.metrics: dict[str, dict[str, float]] = {}
        self.skipped: list[str] = []

    def new_losses(self) -> list[float]:
        r"""The losses since they were last asked for."""
        new, self.logged = self.losses[self.logged :], len(self.losses)
        return new

    def capture(self) -> dict[str, Any]:
        r"""A copy of the state."""
        return {
            'model': clone_state(self.model),
            'averaged': {k: v.clone() for k, v in self.averaged.items()},
            'optimizer': copy.deepcopy(self.optimizer.state_dict()),
            'guard': self.guard.state_dict(),
            'random': torch.get_rng_state(),
            'step': self.budget.step,
            'seconds': self.budget.seconds,
            'position': self.position,
            'contexts': self.contexts,
            'logged': self.logged,
            'losses': list(self.losses),
            'metrics': self.metrics,
            'skipped': list(self.skipped),
            'log': self.log.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        r"""Goes on from a state."""
        self.model.load_state_dict(state['model'])
        for name, value in state['averaged'].items():
            self.averaged[name].copy_(value)
        self.optimizer.load_state_dict(copy.deepcopy(state['optimizer']))
        self.guard.load_state_dict(state['guard'])
        torch.set_rng_state(state['random'])
        self.budget.step = state['step']
        self.position, self.contexts = state['position'], state['contexts']
        self.logged, self.losses = state['logged'], list(state['losses'])
        self.metrics = state['metrics']
        if 'log' in state:
            self.log.load_state_dict(state['log'])
        else:  # The state of an older version.
            self.log.rows = list(state['history'])
        self.skipped = list(state['skipped'])

    def end_episode(self, rate: float) -> None:
        r"""Moves the weights that all episodes start from towards those that one of
        them came to, :math:`\bar{\theta} \leftarrow \bar{\theta} + \epsilon \, (\theta
        - \bar{\theta})` (Reptile, `"On First-Order Meta-Learning Algorithms"
        <https://arxiv.org/abs/1803.02999>`_, algorithm 1), and starts the next.
        """
        average_weights(self.averaged, self.model, 1 - rate)
        self._start_episode()

    def _start_episode(self) -> None:
        self.model.load_state_dict(self.averaged)
        # Lightning Fabric's wrapper may hold a state that is no longer in use.
        getattr(self.optimizer, 'optimizer', self.optimizer).state.clear()
        self.guard.reset()  # The losses of another task are of another size.

    def roll_back(self, good: dict[str, Any], loss: float, culprit: str) -> None:
        r"""Goes back to a state, without the batch that was bad, or the rest of its
        episode.

        Raises:
            RuntimeError: If too many batches were bad.
        """
        position, skipped = self.position, self.skipped
        message = f'batch {position - 1} is skipped (loss {loss:.4g}): {culprit}'
        if len(skipped) >= self.config.max_rollbacks:
            raise RuntimeError(
                f'{len(skipped) + 1} batches were bad, which is more than '
                f'max_rollbacks={self.config.max_rollbacks}. The last: {message}. '
                f'Lower lr (got {self.config.lr:g}), or mend the database.'
            )
        self.restore(good)
        self.position, self.skipped = position, [*skipped, message]
        if steps := self.config.episode_steps:
            self.position = -(-position // steps) * steps
            self._start_episode()
        warnings.warn(message, UserWarning, stacklevel=3)
