import warnings
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.database import load_database
from torch_geometric_rfm.data.horizon import horizon_of
from torch_geometric_rfm.data.task import SPLITS, Task

if TYPE_CHECKING:
    from relbench.base import BaseTask, Database

MULTILABEL = 'multilabel_classification'


def multilabel_tasks(
    task: 'BaseTask',
    db: 'Database | None' = None,
    horizon: Any = None,
    names: Sequence[str] | None = None,
    chosen: Sequence[str] | None = None,
) -> list[Task]:
    r"""A multilabel task of RelBench as binary tasks, one a label.

    Each asks whether one label is true, in a column of the name of that label, so
    that a model which is trained on all of them jointly tells them apart by their
    phrases, and may be asked about further ones.

    Args:
        task (relbench.base.BaseTask): A task of multilabel classification.
        db (relbench.base.Database, optional): Its database, uncut; loaded if not
            given. (default: :obj:`None`)
        horizon (str or pd.Timedelta, optional): When labels become known, see
            :meth:`Task.from_relbench`. (default: :obj:`None`)
        names (sequence, optional): The name of each label;
            :obj:`"label 0"` and so on if not given. (default: :obj:`None`)
        chosen (sequence, optional): The names of the labels to predict, all if not
            given. (default: :obj:`None`)

    Returns:
        list[Task]: The tasks, to be given to
        :meth:`~torch_geometric_rfm.RelationalPredictor.fit` together.

    Raises:
        ValueError: If the task is of another type, its labels are no arrays of zeros
            and ones of one length, names do not fit them, or a label is the same in
            all train rows.

    Example:
        >>> from torch_geometric_rfm.data import load_task
        >>> task = load_task('org/database', 'tags')  # doctest: +SKIP
        >>> tasks = multilabel_tasks(task)  # doctest: +SKIP
        >>> predictor.fit('org/database', tasks)  # doctest: +SKIP
    """
    return [make() for make in _labels_of(task, db, horizon, names, chosen)]


def open_relbench(
    task: 'BaseTask', db: 'Database | None' = None, horizon: Any = None
) -> list[Task]:
    r"""A RelBench task of any type; of a multilabel one the task of each label that can
    be trained on, with a warning that names the others.

    Args:
        task (relbench.base.BaseTask): The task.
        db (relbench.base.Database, optional): See :func:`multilabel_tasks`.
            (default: :obj:`None`)
        horizon (str or pd.Timedelta, optional): See :meth:`Task.from_relbench`.
            (default: :obj:`None`)

    Raises:
        ValueError: If the task, or each label, cannot be trained on.

    Example:
        >>> from torch_geometric_rfm.data import load_task
        >>> task = load_task('org/database', 'tags')  # doctest: +SKIP
        >>> tasks = open_relbench(task)  # doctest: +SKIP
    """
    if task.task_type.value != MULTILABEL:
        return [Task.from_relbench(task, db, horizon)]
    found = [_trainable(make) for make in _labels_of(task, db, horizon)]
    out = [one for one in found if isinstance(one, Task)]
    advice = " Name the labels that can in 'chosen'."
    reasons = [one.removesuffix(advice) for one in found if isinstance(one, str)]
    if not out:
        raise ValueError(reasons[0])
    for reason in reasons:
        warnings.warn(f'a label is left out: {reason}', UserWarning, stacklevel=2)
    return out


def _trainable(make: Callable[[], Task]) -> Task | str:
    # The task of a label, or why it cannot be trained on.
    try:
        out = make()
        out.labels_of_split('val')
    except ValueError as error:
        return str(error)
    return out


def _labels_of(
    task: Any,
    db: Any = None,
    horizon: Any = None,
    names: Sequence[str] | None = None,
    chosen: Sequence[str] | None = None,
) -> list[Callable[[], Task]]:
    # What makes the task of each label.
    name = getattr(task, 'name', None) or type(task).__name__
    if task.task_type.value != MULTILABEL:
        raise ValueError(
            f"task '{name}' must be of type {MULTILABEL} (got "
            f"'{task.task_type.value}'); use Task.from_relbench"
        )
    db = db or load_database(task.dataset)
    tables = {
        split: task.get_table(split, mask_input_cols=False).df for split in SPLITS
    }
    labels = {split: _labels(frame, task, name) for split, frame in tables.items()}
    sizes = {label.shape[1] for label in labels.values() if label.size}
    if len(sizes) != 1:
        raise ValueError(
            f"the labels of task '{name}' must have one length in all splits (got "
            f'{sorted(sizes)})'
        )
    (size,) = sizes
    known = [f'label {i}' for i in range(size)] if names is None else list(names)
    if len(known) != size or len(set(known)) != size:
        raise ValueError(
            f"'names' must name each of the {size} labels of task '{name}' (got "
            f'{known})'
        )
    chosen = known if chosen is None else list(chosen)
    unknown = [one for one in chosen if one not in known]
    if unknown or not chosen:
        raise ValueError(
            f"'chosen' must be labels of task '{name}' (got {unknown or chosen}, known "
            f'are: {", ".join(known)})'
        )
    horizon = horizon_of(task, name, horizon)
    return [
        partial(
            _one_label,
            task,
            name,
            label,
            tables,
            labels,
            known.index(label),
            db,
            horizon,
        )
        for label in chosen
    ]


def _labels(frame: Any, task: Any, name: str) -> NDArray[np.float64]:
    if task.target_col not in frame:
        return np.zeros((len(frame), 0))
    rows = [None if one is None else np.ravel(one) for one in frame[task.target_col]]
    size = next((len(row) for row in rows if row is not None), 0)
    odd = [row for row in rows if row is not None and len(row) != size]
    if odd:
        raise ValueError(
            f"the labels of task '{name}' must be arrays of one length (got {size} and "
            f'{len(odd[0])})'
        )
    out = np.full((len(rows), size), np.nan)
    for i, row in enumerate(rows):
        if row is not None:
            out[i] = row
    return out


def _one_label(
    task: Any,
    name: str,
    label: str,
    tables: Any,
    labels: Any,
    index: int,
    db: 'Database',
    horizon: Any,
) -> Task:
    # What of a RelBench task is looked at, with this label alone.
    def get_table(split: str, mask_input_cols: bool) -> Any:
        frame = tables[split].drop(columns=task.target_col, errors='ignore')
        if labels[split].size:
            frame = frame.assign(**{label: labels[split][:, index]})
        return SimpleNamespace(df=frame)

    one = copy(task)
    one.name, one.target_col, one.get_table = f'{name} {label}', label, get_table
    one.hidden_columns = task.hidden_columns  # Those of its own target.
    one.task_type = SimpleNamespace(value='binary_classification')
    try:
        out = Task.from_relbench(one, db, horizon)
    except ValueError as error:
        raise ValueError(
            f"label '{label}' of task '{name}' cannot be predicted: {error}. Name the "
            "labels that can in 'chosen'."
        ) from error
    out.relbench_task = None  # Which has no metric of one label.
    out.multilabel = name
    return out
