from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Vocabulary:
    r"""Unique strings and brought vectors of a database, numbered from 1.

    Index 0 stands for cells that are no strings.
    """

    def __init__(self) -> None:
        self.index: dict[str | bytes, int] = {}
        self.column_of_width: dict[int, str] = {}

    def add(
        self, codes: NDArray[np.int32], entries: Any, column: str
    ) -> NDArray[np.int32]:
        r"""Numbers the entries, and returns the codes in these numbers.

        Args:
            codes: Indices into :obj:`entries`, -1 where missing.
            entries: Strings, or vectors :obj:`[U, channels]`.
            column: The column they come from, for errors.
        """
        if isinstance(entries, np.ndarray):
            self.column_of_width.setdefault(entries.shape[1], column)
            entries = [vector.astype(np.float32).tobytes() for vector in entries]
        numbers = [self.index.setdefault(e, len(self.index) + 1) for e in entries]
        return np.array([*numbers, -1], dtype=np.int32)[codes]

    def embed(self, encode: Callable[[list[str]], Tensor], channels: int) -> Tensor:
        r"""Embeddings :obj:`[1 + number of entries, channels]`.

        Raises:
            ValueError: If brought vectors are not :obj:`channels` wide.
        """
        for width, column in self.column_of_width.items():
            if width != channels:
                raise ValueError(
                    f"embedding column '{column}' has {width} channels, the text "
                    f'encoder has {channels}. Pass db= if it embeds strings, or '
                    f'project it to that width.'
                )
        out = torch.zeros(len(self.index) + 1, channels)
        strings = {s: i for s, i in self.index.items() if isinstance(s, str)}
        if strings:
            out[list(strings.values())] = encode(list(strings))
        for entry, i in self.index.items():
            if isinstance(entry, bytes):
                out[i] = torch.from_numpy(np.frombuffer(entry, np.float32).copy())
        return out
