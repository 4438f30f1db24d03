import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from torch_geometric_rfm.data.atomic_file import write_atomically
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import Task

FORMAT = 'torch_geometric_rfm.tasks'
FORMAT_VERSION = 1
_ARRAYS = ('entity', 'time', 'label')
_PLAIN = ('name', 'entity_table', 'entity_col', 'time_col', 'target_col')
_KEPT = {*_PLAIN, 'cell_type', 'horizon', 'frame', 'hidden_columns', 'cutoffs'}
_KEPT |= {'classes', 'other_classes'}
_DROPPED = {'relbench_task', 'multilabel'}


def save_tasks(path: str | Path, tasks: list[Task]) -> None:
    r"""Writes tasks with their labels to one safetensors file, whole or not at all.

    The task of RelBench that evaluates predictions is not kept: what is read back
    is scored by the standard metrics of its type.

    Args:
        path (str): The file.
        tasks (list[Task]): Tasks of one database.

    Raises:
        ValueError: If two tasks share a name, or one holds what cannot be kept.

    Example:
        >>> import tempfile
        >>> from torch_geometric_rfm.testing import toy_task
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_tasks(f'{folder}/tasks', [toy_task()])
        ...     load_tasks(f'{folder}/tasks')[0].name
        'customer-orders'
    """
    names = [task.name for task in tasks]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f'tasks of a database need names of their own (got {double})')
    tensors, settings = {}, []
    for i, task in enumerate(tasks):
        _check_plain(task)
        frame = task.frame
        splits, code = np.unique(frame['split'].to_numpy(str), return_inverse=True)
        time = frame['time'].to_numpy().astype('datetime64[ns]').astype(np.int64)
        arrays = {
            'entity': frame['entity'].to_numpy(np.int64),
            'time': time,
            'label': frame['label'].to_numpy(np.float64),
            'split': code.astype(np.int8),
        }
        for name, array in arrays.items():
            tensors[f'{i}.{name}'] = torch.tensor(array)
        settings.append(
            {name: getattr(task, name) for name in _PLAIN}
            | {
                'classes': task.classes,
                'other_classes': task.other_classes,
                'cell_type': task.cell_type.name.lower(),
                'horizon': task.horizon.value,
                'hidden_columns': [list(pair) for pair in task.hidden_columns],
                'cutoffs': {k: pd.Timestamp(v).value for k, v in task.cutoffs.items()},
                'splits': splits.tolist(),
            }
        )
    metadata = {
        'format': FORMAT,
        'format_version': str(FORMAT_VERSION),
        'tasks': json.dumps(settings),
    }
    write_atomically(path, lambda part: save_file(tensors, part, metadata=metadata))


def load_tasks(path: str | Path) -> list[Task]:
    r"""Reads what :func:`save_tasks` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of tasks, or of a later format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no tasks '{path}'; write them with save_tasks")
    try:
        with safe_open(path, framework='np') as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"'{path}' holds no tasks, or is truncated ({error}). Save them again."
        ) from error
    if metadata.get('format') != FORMAT:
        raise ValueError(f"'{path}' is not a file of tasks of this package")
    if int(metadata['format_version']) > FORMAT_VERSION:
        raise ValueError(
            f"tasks '{path}' have format {metadata['format_version']}, this version "
            f'reads up to {FORMAT_VERSION}. Upgrade torch-geometric-rfm.'
        )
    return [
        _task(settings, {name: arrays[f'{i}.{name}'] for name in (*_ARRAYS, 'split')})
        for i, settings in enumerate(json.loads(metadata['tasks']))
    ]


def _task(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Task:
    splits = np.array(settings.pop('splits'), dtype=object)
    frame = pd.DataFrame({name: arrays[name] for name in _ARRAYS})
    frame['time'] = pd.to_datetime(frame['time'], unit='ns')
    frame['split'] = splits[arrays['split']] if len(frame) else []
    return Task(
        **settings
        | {
            'cell_type': CellType.from_name(settings['cell_type']),
            'horizon': pd.Timedelta(settings['horizon'], unit='ns'),
            'hidden_columns': [tuple(pair) for pair in settings['hidden_columns']],
            'cutoffs': {
                k: pd.Timestamp(v, unit='ns') for k, v in settings['cutoffs'].items()
            },
        },
        frame=frame,
    )


def _check_plain(task: Task) -> None:
    # A field that is not known here would be lost in silence.
    lost = [
        item.name
        for item in fields(task)
        if item.name not in _KEPT | _DROPPED
        and getattr(task, item.name) != _default(item)
    ]
    if lost:
        raise ValueError(
            f"task '{task.name}' holds {lost}, which a file of tasks cannot keep"
        )


def _default(item: Any) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
