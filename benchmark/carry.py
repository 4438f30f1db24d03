r"""Prepared databases packed small enough to carry, and weights in small shards.

    python benchmark/carry.py pack OUT_FILE DB...      # stores and tasks, compressed
    python benchmark/carry.py unpack FILE FOLDER       # one folder a database again
    python benchmark/carry.py split RUN OUT            # float16 shards below 15 MB
    python benchmark/carry.py join OUT RUN             # a checkpoint again

Text embeddings and weights travel in half precision, all else as it is.
"""

import argparse
import json
import lzma
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from torch_geometric_rfm.data import get_text_encoder
from torch_geometric_rfm.data.prepared_database import STORE_FILE, TASKS_FILE
from torch_geometric_rfm.data.store_file import read_store_file, write_store_file
from torch_geometric_rfm.train.mixture import open_databases

HALF = ('text_embedding',)


def pack(file: Path, sources: list[str], text_encoder: str) -> None:
    r"""Prepares databases and writes them into one file."""
    with zipfile.ZipFile(file, 'w') as archive:
        for database in open_databases(sources, get_text_encoder(text_encoder)):
            with tempfile.TemporaryDirectory() as folder:
                database.save(folder)
                tensors, settings = read_store_file(
                    Path(folder) / STORE_FILE, True, False
                )
                tasks = lzma.compress((Path(folder) / TASKS_FILE).read_bytes())
                archive.writestr(f'{database.name}/{TASKS_FILE}', tasks)
                layout = {}
                for name, tensor in tensors.items():
                    array = tensor.numpy()
                    layout[name] = [str(array.dtype), list(array.shape)]
                    if name in HALF:
                        array = array.astype(np.float16)
                    archive.writestr(f'{database.name}/{name}', compress(array))
                content = json.dumps({'settings': settings, 'layout': layout})
                archive.writestr(f'{database.name}/layout.json', content)
            print(f'{database}: {file.stat().st_size / 1e6:.1f} MB so far', flush=True)


def unpack(file: Path, folder: Path) -> None:
    r"""Writes the databases of a file as prepared folders."""
    with zipfile.ZipFile(file) as archive:
        names = sorted({name.split('/')[0] for name in archive.namelist()})
        for database in names:
            content = json.loads(archive.read(f'{database}/layout.json'))
            tensors = {}
            for name, (dtype, shape) in content['layout'].items():
                kept = np.float16 if name in HALF else np.dtype(dtype)
                array = decompress(archive.read(f'{database}/{name}'), kept, shape)
                tensors[name] = torch.from_numpy(array.astype(dtype))
            out = folder / database
            out.mkdir(parents=True, exist_ok=True)
            tasks = archive.read(f'{database}/{TASKS_FILE}')
            (out / TASKS_FILE).write_bytes(lzma.decompress(tasks))
            write_store_file(out / STORE_FILE, tensors, content['settings'])


def compress(array: np.ndarray) -> bytes:
    r"""Bytes of like significance side by side, then LZMA."""
    planes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    planes = planes.reshape(-1, array.dtype.itemsize).T
    return lzma.compress(np.ascontiguousarray(planes).tobytes(), preset=4)


def decompress(content: bytes, dtype, shape: list[int]) -> np.ndarray:
    r"""The inverse of :func:`compress`."""
    dtype = np.dtype(dtype)
    planes = np.frombuffer(lzma.decompress(content), dtype=np.uint8)
    planes = planes.reshape(dtype.itemsize, -1).T
    return np.ascontiguousarray(planes).view(dtype).reshape(shape)


def split(run: Path, out: Path, max_bytes: int = 15_000_000) -> None:
    r"""Writes the weights of a run as float16 shards, and what lies beside them."""
    out.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in load_file(run / 'model.safetensors').items():
        half = tensor.half()
        if size + half.numel() * 2 > max_bytes and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = half
        size += half.numel() * 2
    for i, shard in enumerate(shards):
        save_file(shard, out / f'model-{i:02d}.safetensors')
    for name in ('config.json', 'metrics.csv'):
        if (run / name).exists():
            shutil.copy(run / name, out / name)


def join(out: Path, run: Path) -> None:
    r"""Makes a checkpoint of shards, in single precision again."""
    run.mkdir(parents=True, exist_ok=True)
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(out.glob('model-*.safetensors')):
        weights |= {name: tensor.float() for name, tensor in load_file(path).items()}
    save_file(weights, run / 'model.safetensors')
    for name in ('config.json', 'metrics.csv'):
        if (out / name).exists():
            shutil.copy(out / name, run / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('what', choices=['pack', 'unpack', 'split', 'join'])
    parser.add_argument('first', type=Path)
    parser.add_argument('others', nargs='+')
    parser.add_argument('--text-encoder', default='hashing')
    args = parser.parse_args()
    if args.what == 'pack':
        pack(args.first, args.others, args.text_encoder)
    else:
        what = {'unpack': unpack, 'split': split, 'join': join}[args.what]
        what(args.first, Path(args.others[0]))


if __name__ == '__main__':
    main()
