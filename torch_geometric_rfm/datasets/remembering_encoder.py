from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from torch_geometric_rfm.data import TextEncoder, get_text_encoder

MAX_STRINGS = 100_000


class RememberingTextEncoder(TextEncoder):
    r"""A text encoder that keeps what it has embedded in memory.

    Databases that are made of the same words then share their embeddings, and
    nothing is written to disk.

    Args:
        encoder (TextEncoder): The encoder, which it stands for.

    Example:
        >>> from torch_geometric_rfm.data import HashingTextEncoder
        >>> encoder = RememberingTextEncoder(HashingTextEncoder(channels=8))
        >>> encoder.encode(['red', 'blue', 'red']).size()
        torch.Size([3, 8])
        >>> encoder.num_strings
        2
    """

    cacheable = False

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.name, self.channels = encoder.name, encoder.channels
        self._row: dict[str, Tensor] = {}

    @property
    def num_strings(self) -> int:
        r"""How many strings are kept."""
        return len(self._row)

    def encode(self, strings: Sequence[str]) -> Tensor:
        r"""See :meth:`~torch_geometric_rfm.data.TextEncoder.encode`."""
        if not len(strings):
            return torch.empty(0, self.channels)
        new = [s for s in dict.fromkeys(strings) if s not in self._row]
        if len(self._row) + len(new) > MAX_STRINGS:
            self._row.clear()
            new = list(dict.fromkeys(strings))
        if new:
            self._row.update(zip(new, self.encoder.encode(new)))
        return torch.stack([self._row[string] for string in strings])


def remembering_encoder(
    encoder: TextEncoder | str | None = None,
) -> RememberingTextEncoder:
    r"""The remembering form of a text encoder, one a process.

    Args:
        encoder (TextEncoder or str, optional): See
            :func:`~torch_geometric_rfm.data.get_text_encoder`.
            (default: :obj:`None`)
    """
    if isinstance(encoder, RememberingTextEncoder):
        return encoder
    return _remember(encoder)


@lru_cache(maxsize=8)
def _remember(encoder: TextEncoder | str | None) -> RememberingTextEncoder:
    return RememberingTextEncoder(get_text_encoder(encoder))
