import hashlib
import json
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from torch_geometric_rfm.data.text_encoder import TextEncoder, check_identity

CacheDir = str | os.PathLike[str] | Literal[False] | None


def default_cache_dir() -> Path:
    r"""The folder of text embeddings: :obj:`text` below
    :obj:`$TORCH_GEOMETRIC_RFM_CACHE`, which by default is
    :obj:`torch_geometric_rfm` in :obj:`$XDG_CACHE_HOME` or :obj:`~/.cache`.
    """
    root = os.environ.get('TORCH_GEOMETRIC_RFM_CACHE')
    if root:
        return Path(root).expanduser() / 'text'
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(home).expanduser() / 'torch_geometric_rfm' / 'text'


def embed_strings(
    strings: Sequence[str],
    encoder: TextEncoder,
    cache_dir: CacheDir = None,
) -> Tensor:
    r"""Embeds strings, each only once, on this machine.

    Embeddings are kept on disk by their string and by what their encoder
    computes, so that only strings never met before are encoded. Any number of
    processes may share the folder.

    Args:
        strings (Sequence[str]): The :math:`U` strings to embed.
        encoder (TextEncoder): The text encoder.
        cache_dir (str, optional): The folder of the cache. If set to
            :obj:`None`, will use :func:`default_cache_dir`. If set to
            :obj:`False`, nothing is read or written.
            (default: :obj:`None`)

    Returns:
        The embeddings, a float32 tensor of shape :obj:`[U, channels]`.

    Example:
        >>> from torch_geometric_rfm.data.text_encoder import HashingTextEncoder
        >>> encoder = HashingTextEncoder(channels=8)
        >>> embed_strings(['red', 'blue', 'red'], encoder).size()
        torch.Size([3, 8])
    """
    for i, string in enumerate(strings):
        if not isinstance(string, str):
            raise TypeError(
                f"'strings' needs to hold strings only (got {string!r} of type "
                f'{type(string).__name__} at position {i})'
            )

    position: dict[str, int] = {}
    index = [position.setdefault(string, len(position)) for string in strings]
    unique = list(position)

    if cache_dir is False or not encoder.cacheable or not unique:
        out = _checked(encoder.encode(unique), len(unique), encoder)
    else:
        root = default_cache_dir() if cache_dir is None else Path(cache_dir)
        out = _TextCache(root, encoder).embed(unique)
    if len(unique) == len(strings):
        return out
    return out[torch.tensor(index, dtype=torch.long)]


class _TextCache:
    r"""A folder of shards, safetensors files that are written once and never
    changed, of :obj:`key` :obj:`[n, 2]` and :obj:`embedding`
    :obj:`[n, channels]`.
    """

    def __init__(self, root: Path, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.identity = encoder.identity()
        slug = re.sub(r'[^\w.-]+', '-', encoder.name).strip('-.')[-80:]
        self.folder = root / f'{slug}-{encoder.channels}'

    def embed(self, strings: list[str], shard_size: int = 16384) -> Tensor:
        out = torch.empty(len(strings), self.encoder.channels)
        missing = {_key(string): i for i, string in enumerate(strings)}
        for keys, embedding in self._shards():
            hits = [(i, missing.pop(key, -1)) for i, key in enumerate(keys)]
            hits = [(source, target) for source, target in hits if target >= 0]
            if hits:
                source, target = torch.tensor(hits).t()
                out[target] = embedding[source]
            if not missing:
                return out

        # A shard after the other, so that a killed run keeps what it has done:
        left = list(missing.items())
        for start in range(0, len(left), shard_size):
            shard = left[start : start + shard_size]
            x = self.encoder.encode([strings[i] for _, i in shard])
            x = _checked(x, len(shard), self.encoder)
            out[[i for _, i in shard]] = x
            self._write([key for key, _ in shard], x)
        return out

    def _shards(self) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
        r"""The keys and embeddings (read where they are used) of every shard."""
        for path in sorted(self.folder.glob('*.safetensors')):
            try:
                with safe_open(path, framework='pt') as file:
                    if not self._is_mine(json.loads(file.metadata()['identity'])):
                        continue
                    key = file.get_tensor('key')
                    embedding = file.get_tensor('embedding')
                if embedding.size() != (key.size(0), self.encoder.channels):
                    raise ValueError(f"'embedding' is of shape {embedding.size()}")
                keys = [(first, second) for first, second in key.tolist()]
            except (SafetensorError, KeyError, TypeError, ValueError, OSError) as e:
                warnings.warn(
                    f"Ignoring and removing the damaged file '{path}' of text "
                    f'embeddings, whose strings are embedded anew ({e})',
                    stacklevel=4,
                )
                _remove(path)
                continue
            yield keys, embedding

    def _is_mine(self, identity: dict[str, Any]) -> bool:
        try:
            check_identity(self.identity, expected=identity, atol=1e-3)
        except ValueError:
            return False
        return True

    def _write(self, keys: list[tuple[int, int]], x: Tensor) -> None:
        key = torch.tensor(keys, dtype=torch.long)  # [n, 2]
        name = hashlib.blake2b(key.numpy().tobytes(), digest_size=16)
        name.update(json.dumps(self.identity['probe']).encode())
        path = self.folder / f'{name.hexdigest()}.safetensors'
        part = path.with_suffix(f'.{uuid.uuid4().hex}.part')
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {'key': key, 'embedding': x.contiguous()},
                part,
                metadata={'identity': json.dumps(self.identity)},
            )
            os.replace(part, path)
        except (SafetensorError, OSError) as e:
            _remove(part)
            warnings.warn(
                f"Text embeddings are not kept on disk, as '{self.folder}' cannot be "
                f"written to ({e}). Name another folder via 'cache_dir' or the "
                f"environment variable 'TORCH_GEOMETRIC_RFM_CACHE'",
                stacklevel=4,
            )


def _key(string: str) -> tuple[int, int]:
    content = string.encode('utf-8', 'surrogatepass')
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return (
        int.from_bytes(digest[:8], 'little', signed=True),
        int.from_bytes(digest[8:], 'little', signed=True),
    )


def _checked(x: Tensor, num_strings: int, encoder: TextEncoder) -> Tensor:
    if x.size() != (num_strings, encoder.channels):
        raise ValueError(
            f"The text encoder '{encoder.name}' needs to return embeddings of shape "
            f'[{num_strings}, {encoder.channels}] (got {list(x.size())})'
        )
    return x.detach().to('cpu', torch.float32)


def _remove(path: Path) -> None:
    with suppress(OSError):  # Of a read-only folder.
        path.unlink(missing_ok=True)
