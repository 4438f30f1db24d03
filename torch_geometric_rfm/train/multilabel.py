r"""Multilabel tasks, as what the binary tasks of their labels come to."""

from collections.abc import Sequence

import pandas as pd

from torch_geometric_rfm.data import Task


def label_frame(tasks: Sequence[Task], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    r"""One frame of predictions of several labels: the entity, the time, and
    :obj:`probability_<label>` of each.

    Args:
        tasks: The task of each label.
        frames: The predictions of each, of the same entities and times.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task
        >>> task = toy_task()
        >>> columns = {task.entity_col: [1], task.time_col: ['2021-05-01']}
        >>> frame = pd.DataFrame({**columns, 'prediction': [0.5]})
        >>> list(label_frame([task], [frame]))
        ['customer_id', 'timestamp', 'probability_orders']
    """
    first = frames[0].drop(columns='prediction')
    found = {
        f'probability_{task.target_col}': frame['prediction'].to_numpy()
        for task, frame in zip(tasks, frames)
    }
    return first.assign(**found)


def mean_figures(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    r"""The mean of each metric over labels (macro).

    Args:
        figures: The metrics of each label.

    Example:
        >>> mean_figures([{'roc_auc': 0.5}, {'roc_auc': 1.0}])
        {'roc_auc': 0.75}
    """
    return {
        name: sum(one[name] for one in figures) / len(figures) for name in figures[0]
    }
