import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from torch_geometric_rfm.data.atomic_file import write_atomically

FORMAT = 'torch_geometric_rfm.run'
FORMAT_VERSION = 1
STATE_FILE = 'state.pt'


def num_bytes(content: Any) -> int:
    r"""Bytes of all tensors in nested dictionaries and sequences.

    Example:
        >>> num_bytes({'a': torch.zeros(3), 'b': [torch.zeros(2)]})
        20
    """
    if isinstance(content, torch.Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, dict):
        return sum(map(num_bytes, content.values()))
    if isinstance(content, (list, tuple)):
        return sum(map(num_bytes, content))
    return 0


def check_free_space(folder: Path, needed: int, step: int) -> None:
    r"""Checks that a disk has room for a checkpoint before anything is written.

    Raises:
        OSError: If it has not; nothing was touched.
    """
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    if free < needed:
        raise OSError(
            f"no room for the checkpoint of step {step} in '{folder}': it needs "
            f'{needed / 1e6:,.1f} MB and {free / 1e6:,.1f} MB are free. The checkpoint '
            f'before stands untouched; free some space and resume.'
        )


def save_state(folder: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    r"""Writes where a run stands, whole or not at all.

    Args:
        folder: The run folder.
        state: Tensors, numbers, strings, and lists and dictionaries of them.
        settings: What a run that goes on must share.

    Raises:
        OSError: If the disk has no room for it; the state before stays.
    """
    # The old file stays beside the new one until that is whole.
    check_free_space(folder, int(1.05 * num_bytes(state)) + 2**20, state['step'])
    content = {
        'format': FORMAT,
        'format_version': FORMAT_VERSION,
        'settings': json.dumps(settings, sort_keys=True, default=str),
        'state': state,
    }
    write_atomically(folder / STATE_FILE, lambda part: torch.save(content, part))


def load_state(
    folder: Path, settings: dict[str, Any], defaults: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    r"""Reads where a run stands, :obj:`None` if nothing was saved yet.

    Args:
        folder: The folder of the run.
        settings: What it must have been begun with.
        defaults: What settings are of runs that are older than these settings.

    Raises:
        ValueError: If it is damaged, of a later format, or of a run with other
            settings; they are named.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
        is_state = content['format'] == FORMAT
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, TypeError) as e:
        raise ValueError(f"'{path}' is damaged or no state of a run: {e}") from e
    if not is_state:
        raise ValueError(f"'{path}' is no state of a run of this package")
    if content['format_version'] > FORMAT_VERSION:
        raise ValueError(
            f"'{path}' has format {content['format_version']}, this version reads up "
            f'to {FORMAT_VERSION}. Upgrade torch-geometric-rfm.'
        )
    older = json.loads(json.dumps(defaults or {}, default=str))
    saved = json.loads(content['settings'])
    before = older | saved | {'model': older.get('model', {}) | saved.get('model', {})}
    now = json.loads(json.dumps(settings, default=str))
    changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
    if changed:
        pairs = (f'{k} {before.get(k)!r} (got {now.get(k)!r})' for k in changed)
        raise ValueError(
            f"the run in '{folder}' has another configuration: {'; '.join(pairs)}. "
            f'Resume with the same, or choose another folder.'
        )
    return content['state']
