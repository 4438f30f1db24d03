import re
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from relbench.base import BaseTask


def to_horizon(value: Any) -> pd.Timedelta:
    r"""A horizon as a time span: :obj:`'30d'`, :obj:`'30 days'` or one already.

    Raises:
        ValueError: If it is no time span, or negative.
    """
    text = re.sub(r'(?<=[\d\s])d$', 'D', value) if isinstance(value, str) else value
    try:
        out = pd.Timedelta(text)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"horizon must be a time span, as '30 days' (got {value!r})"
        ) from error
    if pd.isna(out):
        raise ValueError("horizon must be a time span, as '30 days' (got NaT)")
    if out < pd.Timedelta(0):
        raise ValueError(f'horizon must not be negative (got {value})')
    return out


def horizon_of(task: 'BaseTask', name: str, horizon: Any) -> pd.Timedelta:
    r"""When labels of a RelBench task become known, counted from their time.

    Raises:
        ValueError: If the task does not say, or it is negative.
    """
    if horizon is not None:
        return to_horizon(horizon)
    kind = getattr(task, 'kind', 'forecast')
    if kind == 'autocomplete':
        return pd.Timedelta(0)
    # RelBench gives external tasks a timedelta of one day if they have none.
    if kind == 'external' and not _declared_timedelta(task, name):
        raise ValueError(
            f"task '{name}' is external and does not say when its labels become known. "
            f"Pass horizon=, for example horizon='45 days'."
        )
    return task.timedelta


def _declared_timedelta(task: 'BaseTask', name: str) -> str | None:
    from relbench.manifest import TaskManifest

    path = task.dataset.dataset_dir / 'tasks' / name / 'manifest.yaml'
    return TaskManifest.load(path).timedelta if path.exists() else None
