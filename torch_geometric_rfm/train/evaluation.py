from typing import Any

import numpy as np
import torch

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.metrics import less_is_better
from torch_geometric_rfm.nn.cell_output import CellOutput
from torch_geometric_rfm.train.predict import predict_rows


def draw_rows(store: TaskStore, split: str, max_rows: int, seed: int) -> np.ndarray:
    r"""Rows of a split, at most so many, drawn once by the seed; of a binary task
    that has both labels, rows of both.
    """
    rows = store.rows_of_split(split)
    if rows.size <= max_rows:
        return rows
    rng = np.random.default_rng(seed)
    drawn = rng.choice(rows, max_rows, replace=False)
    if store.task.cell_type == CellType.BOOLEAN:
        label = store.target.numpy()
        others = rows[label[rows] != label[drawn[0]]]
        if others.size and (label[drawn] == label[drawn[0]]).all():
            drawn[-1] = rng.choice(others)
    return np.sort(drawn)


def score_rows(
    network: torch.nn.Module,
    store: TaskStore,
    rows: np.ndarray,
    protocol: str,
    loss_fn: MaskedCellLoss | None = None,
    **sampling: Any,
) -> dict[str, float]:
    r"""The metrics of the predictions for some rows, the main one first, and their
    :obj:`loss` if its function is given.
    """
    losses: list[tuple[float, int]] = []

    def observe(output: CellOutput, cells: CellData) -> None:
        if loss_fn is not None:
            losses.append((float(loss_fn(output, cells)), cells.num_contexts))

    prediction = predict_rows(
        network, store, rows, protocol, observe=observe, **sampling
    )
    label = store.task.frame['label'].to_numpy()[rows]
    known = np.isfinite(prediction)
    figures = _metrics(store.task, label, np.where(known, prediction, 0.0))
    if not known.all():  # A metric of what is no number is none either.
        figures = dict.fromkeys(figures, float('nan'))
    if losses:
        value, count = np.array(losses).T
        figures['loss'] = float((value * count).sum() / count.sum())
    return figures


def main_score(figures: dict[str, float]) -> float:
    r"""The main metric, its sign such that higher is better.

    Example:
        >>> main_score({'roc_auc': 0.7, 'accuracy': 0.6}), main_score({'nmae': 0.4})
        (0.7, -0.4)
    """
    name, value = next(iter(figures.items()))
    return -value if less_is_better(name) else value


def _metrics(task: Task, label: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    try:
        return task.score(label, prediction)
    except ImportError:  # Prepared databases need no RelBench.
        return _plain_metrics(task, label, prediction)


def _plain_metrics(
    task: Task, label: np.ndarray, prediction: np.ndarray
) -> dict[str, float]:
    if task.cell_type == CellType.BOOLEAN:
        from sklearn.metrics import roc_auc_score

        return {'roc_auc': float(roc_auc_score(label, prediction))}
    train = task.frame['label'][task.frame['split'] == 'train']
    error = float(np.abs(label - prediction).mean())
    return {'nmae': error / float(train.std(ddof=1))}
