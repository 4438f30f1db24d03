import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from torch_geometric_rfm.data.atomic_file import write_atomically

FORMAT = 'torch_geometric_rfm.CellStore'
FORMAT_VERSION = 2
_CHUNK = 1 << 24


def write_store_file(
    path: str | Path, tensors: dict[str, Tensor], settings: dict[str, Any]
) -> None:
    r"""Writes tensors and settings as one safetensors file with checksums.

    Raises:
        FileExistsError: If another kind of file stands there.
        OSError: If it cannot be written; a store that stood there stays.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() and _is_store(path)):
        raise FileExistsError(
            f"'{path}' exists and is not a store; choose another path or remove it"
        )
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {
        'format': FORMAT,
        'format_version': str(FORMAT_VERSION),
        'settings': json.dumps(settings),
        'checksums': json.dumps({k: _checksum(v) for k, v in tensors.items()}),
    }

    def write(part: str) -> None:
        try:
            save_file(tensors, part, metadata=metadata)
        except SafetensorError as error:
            raise OSError(
                f"store '{path}' could not be written: {error}. Free some space, or "
                f'choose another disk.'
            ) from error

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)


def read_store_file(
    path: str | Path, mmap: bool, verify: bool
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    r"""Reads what :func:`write_store_file` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no store, of another format, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no store '{path}'; write one with CellStore.save")
    file = path.stat().st_ino
    try:
        return _read(path, mmap, verify)
    except ValueError:
        if path.stat().st_ino == file:
            raise
    # Replaced by another one meanwhile.
    return read_store_file(path, mmap, verify)


def _read(
    path: Path, mmap: bool, verify: bool
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            # On the CPU, tensors are private views of the mapped file.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"'{path}' is no store, or it is truncated ({error}). Build and save it "
            f'again.'
        ) from error
    if metadata.get('format') != FORMAT:
        raise ValueError(f"'{path}' is not a store of this package")
    version = int(metadata['format_version'])
    if version != FORMAT_VERSION:
        later = version > FORMAT_VERSION
        fix = 'Upgrade torch-geometric-rfm' if later else 'Build and save it again'
        raise ValueError(
            f"store '{path}' has format {version}, this version reads "
            f'{FORMAT_VERSION}. {fix}.'
        )
    if verify:
        _verify(path, json.loads(metadata['checksums']))
    if not mmap:
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return tensors, json.loads(metadata['settings'])


def _is_store(path: Path) -> bool:
    # By its header alone: a damaged store may be replaced, other files may not.
    with path.open('rb') as file:
        size = int.from_bytes(file.read(8), 'little')
        header = file.read(min(size, _CHUNK))
    return header.startswith(b'{') and FORMAT.encode() in header


def _checksum(tensor: Tensor) -> str:
    array: NDArray[Any] = tensor.numpy().reshape(-1)
    digest = hashlib.blake2b(digest_size=16)
    digest.update(array.view(np.uint8).data)
    return digest.hexdigest()


def _verify(path: Path, checksums: dict[str, str]) -> None:
    # Reads the file rather than the mapping, whose pages would stay resident.
    with path.open('rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
        start = file.tell()
        for name, expected in checksums.items():
            first, last = header[name]['data_offsets'] if name in header else (0, 0)
            digest = hashlib.blake2b(digest_size=16)
            file.seek(start + first)
            while first < last:
                part = file.read(min(_CHUNK, last - first))
                if not part:
                    break
                first += len(part)
                digest.update(part)
            if digest.hexdigest() != expected:
                raise ValueError(
                    f"store '{path}' is damaged: '{name}' does not have the checksum "
                    f'it was saved with. Build and save it again.'
                )


def to_tensor(array: NDArray[Any]) -> Tensor:
    r"""A tensor that shares the memory of an array."""
    return torch.from_numpy(np.ascontiguousarray(array))
