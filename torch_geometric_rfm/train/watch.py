from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from torch_geometric_rfm.data.prepared_database import PreparedDatabase
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.train.evaluation import draw_rows, score_rows


class Watch:
    r"""Scores a model on val rows of the tasks of several databases.

    Args:
        databases: The databases.
        max_rows: Val rows of a task that are scored, drawn once.
        seed: Seed of that draw.
        sampling: Arguments of :class:`~torch_geometric_rfm.loader.ContextLoader`.
    """

    def __init__(
        self,
        databases: Sequence[PreparedDatabase],
        max_rows: int,
        seed: int,
        **sampling: Any,
    ) -> None:
        self.sampling = sampling
        self.tasks: list[tuple[str, TaskStore, np.ndarray]] = []
        for database in databases:
            for store in database.task_stores():
                store.task.labels_of_split('val')
                rows = draw_rows(store, 'val', max_rows, seed)
                self.tasks.append((database.name, store, rows))

    def __call__(
        self, network: torch.nn.Module, loss_fn: MaskedCellLoss
    ) -> dict[str, dict[str, float]]:
        r"""For each task, as :obj:`<database>/<task>`, its metrics and its loss, and
        for each database the mean loss of its tasks.
        """
        figures: dict[str, dict[str, float]] = {}
        losses: dict[str, list[float]] = {}
        for database, store, rows in self.tasks:
            scores = score_rows(
                network, store, rows, 'rolling', loss_fn, **self.sampling
            )
            figures[f'{database}/{store.task.name}'] = scores
            losses.setdefault(database, []).append(scores['loss'])
        means = {name: {'loss': float(np.mean(v))} for name, v in losses.items()}
        return means | figures
