from typing import Any

import numpy as np
import torch

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.link_task import LinkTask
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.metrics import conformal_shifts, fit_temperature
from torch_geometric_rfm.nn.number_head import LEVELS
from torch_geometric_rfm.train.calibration import Calibration
from torch_geometric_rfm.train.predict import predict_outputs, predict_rows


def fit_calibration(
    model: torch.nn.Module, store: TaskStore, split: str, protocol: str, **options: Any
) -> Calibration:
    r"""Finds what makes the probabilities, or the intervals, of a task hold on a split,
    or whether its numbers should be whole.

    Of a classification these are the temperature and the bias that make the labels most
    likely, where they speak for either, see
    :func:`~torch_geometric_rfm.metrics.fit_temperature`; of a regression
    the shift of each quantile, see
    :func:`~torch_geometric_rfm.metrics.conformal_shifts`. A model of values alone,
    which approach the median, has them rounded if that makes the mean absolute error of
    the split smaller and all train labels are whole, as counts are: their median is
    whole too.

    Args:
        model (RelationalTransformer): The model.
        store (TaskStore): The database with the task.
        split (str): A split with labels that was not trained on.
        protocol (str): :obj:`"rolling"` or :obj:`"frozen"`.
        **options: Further arguments of :func:`~torch_geometric_rfm.train.predict_rows`.

    Raises:
        ValueError: If the task recommends, the split has no labels, or too few, or
            the model has no quantiles, and labels are not whole.
    """
    if isinstance(store.task, LinkTask):
        raise ValueError(
            f"task '{store.task.name}' recommends, and has neither probabilities nor "
            'intervals to calibrate'
        )
    label = store.task.labels_of_split(split)
    if store.task.cell_type == CellType.NUMBER:
        config: Any = model.config
        if config['number_head'] == 'value' and has_whole_numbers(store):
            number = predict_rows(model, store, split, protocol, **options)
            errors = [np.abs(one - label).mean() for one in (np.round(number), number)]
            return Calibration(whole=bool(errors[0] < errors[1]))
        levels = np.array(LEVELS)
        quantiles = predict_rows(
            model, store, split, protocol, levels=list(LEVELS), **options
        )
        shifts = conformal_shifts(quantiles, label, levels)
        shifts[levels == 0.5] = 0.0  # The median is the point prediction.
        return Calibration(shifts=shifts.tolist())
    logits = predict_outputs(model, store, split, protocol, **options)
    temperature, bias = fit_temperature(logits, label)
    return Calibration(temperature, bias.tolist())


def has_whole_numbers(store: TaskStore) -> bool:
    r"""Whether the task is a regression whose known train labels are all whole.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> has_whole_numbers(toy_task_store('regression'))
        False
    """
    if isinstance(store.task, LinkTask) or store.task.cell_type != CellType.NUMBER:
        return False
    frame = store.task.frame
    label = frame['label'][frame['split'] == 'train'].dropna().to_numpy()
    return label.size > 0 and bool((label == np.round(label)).all())
