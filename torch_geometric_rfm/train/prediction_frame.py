import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data import Task
from torch_geometric_rfm.data.cell_type import CellType


def prediction_frame(
    task: Task, keys: NDArray, times: NDArray, prediction: NDArray[np.float64]
) -> pd.DataFrame:
    r"""Predictions as a frame: the entity, the time, and :obj:`prediction`, a number,
    the probability of true, or the most likely class followed by
    :obj:`probability_<class>` of each.

    Args:
        task: The task.
        keys: :obj:`[n]` primary keys of the entities.
        times: :obj:`[n]` when they are asked about.
        prediction: :obj:`[n]` numbers, or :obj:`[n, classes]` probabilities.
    """
    out = pd.DataFrame({task.entity_col: keys, task.time_col: times})
    if task.cell_type != CellType.CATEGORY:
        return out.assign(prediction=prediction)
    classes = np.array(task.classes, dtype=object)
    out['prediction'] = classes[prediction.argmax(axis=1)]
    names = [f'probability_{name}' for name in classes]
    return pd.concat([out, pd.DataFrame(prediction, columns=names)], axis=1)


def interval_levels(interval: float) -> list[float]:
    r"""The quantiles of the median and of the ends of an interval.

    Raises:
        ValueError: If the share is not between 0 and 1.

    Example:
        >>> interval_levels(0.9)
        [0.5, 0.05, 0.95]
    """
    if not 0.0 < interval < 1.0:
        raise ValueError(f"'interval' must lie between 0 and 1 (got {interval})")
    return [0.5, round(0.5 - interval / 2, 12), round(0.5 + interval / 2, 12)]
