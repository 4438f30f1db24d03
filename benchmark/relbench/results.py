r"""Lines of results, one JSON object a run and protocol, and predictions beside."""

import fcntl
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from benchmark.relbench.inputs import PROTOCOLS, SCORED
from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN, score
from torch_geometric_rfm.data.atomic_file import write_atomically

KEYS = ('database', 'task', 'model', 'protocol', 'seed')
TYPES = {
    **dict.fromkeys(KEYS[:4], str),
    'seed': int,
    'kind': str,
    'metrics': dict,
    'hyper_parameters': dict,
    'versions': dict,
    'machine': dict,
    'commit': str,
    'seconds': dict,
    'minutes': (int, float),
    'train_std': (int, float),
    'peak_megabytes': int,
    'parameters': int,
    'rows': dict,
    'predictions': str,
    'deterministic': bool,
}
ENTITIES = 'entities.npz'
BOUNDED = ('roc_auc', 'average_precision', 'accuracy', 'macro_f1', 'ece', 'map')


def read_lines(path: Path, **wanted: Any) -> list[dict[str, Any]]:
    r"""The lines of a results file, none if there is no file.

    Args:
        path: The file.
        **wanted: Values of keys that lines must have; others are passed over.

    Raises:
        ValueError: If a line is no result of this benchmark; it is named by number.
    """
    lines: list[dict[str, Any]] = []
    if not path.exists():
        return lines
    seen: dict[tuple, int] = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        try:
            line = json.loads(text)
            if isinstance(line, dict) and not wanted.items() <= line.items():
                continue
            _check(line)
            _check_predictions(line, path.parent)
        except (ValueError, TypeError, KeyError, OSError, BadZipFile) as error:
            raise ValueError(
                f'{path}, line {number}: {error}. Remove the line and run it again.'
            ) from error
        key = _key(line)
        if key in seen:
            raise ValueError(
                f'{path}, line {number}: the same run as line {seen[key]} '
                f'({dict(zip(KEYS, key))}). Remove one of them.'
            )
        seen[key] = number
        lines.append(line)
    return lines


def _check(line: Any) -> None:
    if not isinstance(line, dict):
        raise ValueError(f'a line must be a JSON object (got {type(line).__name__})')
    for key, kind in TYPES.items():
        value = line.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise ValueError(f"'{key}' is missing or of a wrong type (got {value!r})")
    if line['protocol'] not in PROTOCOLS:
        raise ValueError(
            f"'protocol' must be one of {PROTOCOLS} (got '{line['protocol']}')"
        )
    if line['kind'] not in MAIN:
        raise ValueError(f"'kind' must be one of {(*MAIN,)} (got '{line['kind']}')")
    if not (math.isfinite(line['train_std']) and line['train_std'] > 0):
        raise ValueError(f"'train_std' must be positive (got {line['train_std']})")
    for name, number in (('fit', line['seconds'].get('fit')), *line['rows'].items()):
        if not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"'{name}' must be a number (got {number!r})")
    for split in SCORED:
        figures = line['metrics'].get(split)
        if not isinstance(figures, dict) or MAIN[line['kind']] not in figures:
            raise ValueError(
                f"'metrics' must hold {MAIN[line['kind']]} of {split} (got {figures!r})"
            )
        for name, value in figures.items():
            _check_metric(f'{split} {name}', name, value)


def _check_metric(where: str, name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f'{where} must be a number (got {value!r})')
    is_bounded = name in BOUNDED
    too_low = (is_bounded or name in LESS_IS_BETTER) and value < 0
    if not math.isfinite(value) or too_low or (is_bounded and value > 1):
        raise ValueError(f'{where} is out of range (got {value})')


def _check_predictions(line: dict[str, Any], folder: Path) -> None:
    # Metrics that were edited do not agree with the predictions any more.
    predictions = load_predictions(line, folder)
    if predictions is None:
        return
    for split in SCORED:
        label, prediction = predictions[split]
        if line['rows'].get(split) != len(label):
            raise ValueError(
                f"'rows' of {split} must be {len(label)}, as many as predictions (got "
                f'{line["rows"].get(split)})'
            )
        figures = score(line['kind'], label, prediction, line['train_std'])
        missing = sorted(set(figures) - set(line['metrics'][split]))
        if missing:
            raise ValueError(f"'metrics' of {split} lack {', '.join(missing)}")
        for name, value in line['metrics'][split].items():
            if name not in figures:
                raise ValueError(
                    f"unknown metric '{name}' (known are: {', '.join(figures)})"
                )
            if abs(figures[name] - value) > 1e-4 * max(1.0, abs(value)):
                raise ValueError(
                    f'{split} {name} is {value}, but {figures[name]:.6g} by the '
                    f'predictions in {line["predictions"]}'
                )


def load_predictions(
    line: dict[str, Any], folder: Path
) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    r"""Labels and predictions by split, :obj:`None` if their file is not there."""
    path = folder / line['predictions']
    if not path.exists():
        return None
    with np.load(path) as arrays:
        return {
            split: (
                arrays[f'{split}_label'].astype(np.float64),
                arrays[f'{split}_{line["protocol"]}'].astype(np.float64),
            )
            for split in SCORED
        }


def load_entities(line: dict[str, Any], folder: Path, split: str) -> np.ndarray | None:
    r"""The entity of each row that is scored, :obj:`None` if its file is not there."""
    path = (folder / line['predictions']).parent / ENTITIES
    if not path.exists():
        return None
    with np.load(path) as arrays:
        return arrays[split]


def save_entities(folder: Path, entities: dict[str, np.ndarray]) -> None:
    r"""Writes the entities of the rows of a task, beside its predictions."""
    if not (folder / ENTITIES).exists():
        kept = {split: entity.astype(np.int32) for split, entity in entities.items()}
        save_predictions(folder / ENTITIES, kept)


def save_predictions(path: Path, arrays: dict[str, np.ndarray]) -> None:
    r"""Writes predictions whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(part: str) -> None:
        with open(part, 'wb') as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def append_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    r"""Adds lines, all or none of them, in place of earlier ones of the same run;
    several processes may do so at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        old = path.read_text().splitlines() if path.exists() else []
        # Another sweep may have run the same meanwhile, or one protocol was left:
        # the predictions that stand beside are those of the last run.
        added = {_key(line) for line in lines} - {None}
        kept = [text for text in old if _key(json.loads(text)) not in added]
        texts = [*kept, *(json.dumps(line, default=_to_json) for line in lines)]
        whole = ''.join(text + '\n' for text in texts)
        write_atomically(path, lambda part: Path(part).write_text(whole))


def _key(line: dict[str, Any]) -> tuple[Any, ...] | None:
    # What names a run of this benchmark; lines of others have no such name.
    return tuple(line[key] for key in KEYS) if set(KEYS) <= set(line) else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with (path.parent / f'.{path.name}.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _to_json(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
