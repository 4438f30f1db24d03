from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.prepared_database import (
    PreparedDatabase,
    prepare_database,
)
from torch_geometric_rfm.data.text_encoder import TextEncoder
from torch_geometric_rfm.datasets import SyntheticRelationalDatabase
from torch_geometric_rfm.loader.mixture_loader import MixtureLoader, MixturePart
from torch_geometric_rfm.train.mixture import make_parts
from torch_geometric_rfm.train.pretrain_config import PretrainConfig

_FIRST_SEED = 10**6
r"""Beyond the seeds that anyone names, so that no name is taken twice."""


class MixtureStream:
    r"""Batches of databases that stay, and of synthetic ones that come and go.

    Batch number :math:`i` is made of the databases, and of the synthetic ones of its
    generation :math:`\lfloor i / \textrm{synthetic\_every} \rfloor`; those of one
    generation are in memory at a time, and none touches the disk.

    Args:
        databases: The databases that stay.
        config: How to train.
        text_encoder: The text encoder.
        make_loader: Makes a loader of parts.
    """

    def __init__(
        self,
        databases: Sequence[PreparedDatabase],
        config: PretrainConfig,
        text_encoder: TextEncoder,
        make_loader: Callable[[list[MixturePart]], MixtureLoader],
    ) -> None:
        self.config, self.text_encoder = config, text_encoder
        self.make_loader = make_loader
        alone = not databases and config.synthetic_pool
        self.parts = [] if alone else make_parts(databases, config)
        self._loader: tuple[int, MixtureLoader] | None = None

    def loader(self, position: int) -> MixtureLoader:
        r"""The loader of a batch."""
        every = self.config.synthetic_every
        generation = position // every if self.config.synthetic_pool else 0
        if self._loader is None or self._loader[0] != generation:
            self._loader = None  # Its databases may go before others come.
            synthetic = self.synthetic(generation)
            parts = make_parts(synthetic, self.config) if synthetic else []
            self._loader = generation, self.make_loader([*self.parts, *parts])
        return self._loader[1]

    def synthetic(self, generation: int) -> list[PreparedDatabase]:
        r"""The synthetic databases of a generation."""
        pool = self.config.synthetic_pool
        first = _FIRST_SEED * (1 + self.config.seed) + generation * pool
        return [
            prepare_database(SyntheticRelationalDatabase(seed), self.text_encoder)
            for seed in range(first, first + pool)
        ]

    def batches(self, position: int) -> Iterator[CellData]:
        r"""The batches from a position on, in their slices."""
        while True:
            loader = self.loader(position)
            loader.start = position
            if not self.config.synthetic_pool:
                yield from loader
            every = self.config.synthetic_every
            end = (position // every + 1) * every
            yield from islice(loader, (end - position) * loader.num_slices)
            position = end
