from collections.abc import Sequence
from typing import Any

import pandas as pd

from torch_geometric_rfm.data import load_database, load_dataset
from torch_geometric_rfm.datasets.task_maker import GeneratedTasks, TaskMaker

_LEAST_MAX_ROWS = 100


def generate_tasks(
    db: Any,
    *,
    seed: int = 0,
    max_tasks: int | None = None,
    max_rows: int = 5_000,
    horizons: Sequence[Any] | None = None,
    val_timestamp: Any = None,
    test_timestamp: Any = None,
) -> GeneratedTasks:
    r"""Makes tasks of a database, to pretrain on.

    *Forecasts*, by DuckDB SQL: over every path of one or two foreign keys from an
    entity down to dated happenings and over several horizons, how many there will
    be, whether any, of each number or boolean column the sum, the mean and the next
    value, and of numbers whether one will be low or high: beyond a fifth of those up
    to the val cutoff. Entities are asked about at regular times, those to which
    something happened in the last three horizons. A window is
    :math:`(t, t + horizon]`, and train windows end by the val cutoff, val windows by
    the test cutoff.

    *Autocomplete*: any number or boolean column is hidden, together with columns
    that would give it away, and asked for at the time of its row; rows of undated
    tables are asked about at the time of a random child.

    What cannot be learned from (too few rows, labels that are nearly all equal or
    those of another task) is dropped, and listed in
    :obj:`dropped` of the result.

    Args:
        db (str, Path, relbench.base.Dataset or relbench.base.Database): A RelBench
            folder, a dataset, a
            :class:`~torch_geometric_rfm.datasets.SyntheticRelationalDatabase`, or
            a database with the two timestamps.
        seed (int): Seed of the choice of tasks and rows. (default: :obj:`0`)
        max_tasks (int, optional): The most tasks; all if not given, else up to
            two of each path and horizon, and about a third autocomplete.
            (default: :obj:`None`)
        max_rows (int): The most rows of each split of a task; entities keep all
            their labels. (default: :obj:`5000`)
        horizons (list, optional): Horizons of forecasts, *e.g.*
            :obj:`["7D", "30D"]`; by the pace of the happenings if not given.
            (default: :obj:`None`)
        val_timestamp (pd.Timestamp, optional): When val begins, if
            :obj:`db` does not say. (default: :obj:`None`)
        test_timestamp (pd.Timestamp, optional): When test begins, if
            :obj:`db` does not say. (default: :obj:`None`)

    Returns:
        GeneratedTasks: The tasks, in random order if :obj:`max_tasks` is given.

    Raises:
        ImportError: If DuckDB is not installed.
        ValueError: If an argument is out of range, or the cutoffs are unknown.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> tasks = generate_tasks(toy_database(), val_timestamp='2021-05-01',
        ...                        test_timestamp='2021-09-01', horizons=['60D'])
        >>> tasks[0].name
        'customers-orders-count-60d'
    """
    if max_tasks is not None and max_tasks < 1:
        raise ValueError(f'max_tasks must be positive (got {max_tasks})')
    if max_rows < _LEAST_MAX_ROWS:
        raise ValueError(
            f'max_rows must be at least {_LEAST_MAX_ROWS} (got {max_rows})'
        )
    seconds = None if horizons is None else [_horizon_seconds(h) for h in horizons]
    dataset = load_dataset(db)
    val = _cutoff(dataset, 'val_timestamp', val_timestamp)
    test = _cutoff(dataset, 'test_timestamp', test_timestamp)
    if val >= test:
        raise ValueError(
            f'val_timestamp must be before test_timestamp (got {val}, {test})'
        )
    maker = TaskMaker(load_database(dataset), val, test, seed, max_tasks, max_rows)
    with maker.connection:
        return maker.make(seconds)


def _cutoff(dataset: Any, name: str, given: Any) -> pd.Timestamp:
    value = getattr(dataset, name, None) if given is None else given
    if value is None:
        raise ValueError(
            f'{name} is unknown: a database alone has no cutoffs. Pass {name}=, or a '
            f'dataset.'
        )
    return pd.Timestamp(value)


def _horizon_seconds(horizon: Any) -> int:
    seconds = pd.Timedelta(horizon).total_seconds()
    if seconds < 1 or seconds % 1:
        raise ValueError(f'horizons must be whole seconds, at least 1 (got {horizon})')
    return int(seconds)
