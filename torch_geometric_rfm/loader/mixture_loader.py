from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from torch_geometric_rfm.data.cell_data import CellData, concatenate
from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.flip_embeddings import flip_embeddings
from torch_geometric_rfm.data.negate_labels import negate_labels
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loader.context_loader import ContextLoader


@dataclass
class MixturePart:
    r"""One source of contexts: a task of a database, or rows of a table.

    Args:
        database: The name of the database.
        store: The database, with a task or without.
        input_nodes, input_time: See
            :class:`~torch_geometric_rfm.loader.ContextLoader`.
        transform: Applied to its contexts.
        name: What it is called, the task if not given.
        weight: A factor of how often it is drawn.
    """

    database: str
    store: TaskStore | CellStore
    input_nodes: Any = 'train'
    input_time: Any = None
    transform: Callable[[CellData], CellData] | None = None
    name: str = ''
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.name and isinstance(self.store, TaskStore):
            self.name = self.store.task.name

    @property
    def num_inputs(self) -> int:
        r"""Number of its inputs, if they are rows."""
        rows = self.input_nodes
        return len(rows[1] if isinstance(rows, tuple) else rows)

    def __str__(self) -> str:
        return f"'{self.name}' of database '{self.database}'"


class Draw(NamedTuple):
    r"""What a group of contexts is made of.

    Args:
        part: Number of the part.
        num_cells: Cells of a context at most.
        inputs: Numbers of its inputs.
        flip: Seed of the signs of its text embeddings, :obj:`None` to keep them.
        negate: Whether its labels have the opposite sense.
    """

    part: int
    num_cells: int
    inputs: np.ndarray
    flip: int | None = None
    negate: bool = False


def mixture_weights(
    databases: Sequence[str], sizes: Sequence[int], temperature: float
) -> np.ndarray:
    r"""The probability of each part: of its database, in proportion to
    :math:`\textrm{rows}^{1 / \textrm{temperature}}`, times that of the part within
    its database, likewise.

    Args:
        databases: :obj:`[parts]` the database of each part.
        sizes: :obj:`[parts]` its number of inputs.
        temperature: 1 is in proportion to the rows, above is more even.

    Example:
        >>> mixture_weights(['a', 'a', 'b'], [50, 50, 10_000], 2.0).round(3).tolist()
        [0.045, 0.045, 0.909]
    """
    if temperature <= 0:
        raise ValueError(f"'temperature' must be positive (got {temperature})")
    size = np.asarray(sizes, dtype=np.float64)
    _, code = np.unique(list(databases), return_inverse=True)
    total = np.bincount(code, size) ** (1 / temperature)
    part = size ** (1 / temperature)
    within = part / np.bincount(code, part)[code]
    return (total / total.sum())[code] * within


def part_factors(parts: Sequence[MixturePart], weights: dict[str, float]) -> np.ndarray:
    r"""The weight of each part, times all factors whose pattern is that of its
    database or of :obj:`"<database>/<part>"`.

    Raises:
        ValueError: If a pattern is that of no part, or no part is left.
    """
    factor = np.array([part.weight for part in parts], dtype=np.float64)
    for pattern, weight in weights.items():
        matches = np.array(
            [
                fnmatchcase(part.database, pattern)
                or fnmatchcase(f'{part.database}/{part.name}', pattern)
                for part in parts
            ]
        )
        if not matches.any():
            known = ', '.join(dict.fromkeys(part.database for part in parts))
            raise ValueError(
                f"'weights' names unknown databases or tasks (got '{pattern}', "
                f'databases are: {known})'
            )
        factor[matches] *= weight
    if not factor.any() or (factor < 0).any():
        raise ValueError(
            f"'weights' must be at least 0, and leave something to train on (got "
            f'{weights})'
        )
    return factor


class MixtureLoader(DataLoader):
    r"""Loads endless mini-batches from a mixture of databases and tasks.

    A batch is made of groups of contexts of one part each; all of its contexts have
    the same :obj:`num_cells`, drawn from a list. Batch number :math:`i` depends on
    :obj:`seed` and :math:`i` alone, not on the number of workers or on the batches
    before, so that a run goes on anywhere.

    Args:
        parts (list[MixturePart]): What is mixed.
        batch_size (int): Contexts of a batch, over all ranks and slices.
            (default: :obj:`32`)
        group_size (int): Contexts of a group. (default: :obj:`4`)
        num_cells (list[int]): Sizes of contexts, one of which each batch draws.
            (default: :obj:`(128, )`)
        temperature (float): See :func:`mixture_weights`. (default: :obj:`2.0`)
        weights (dict, optional): Factors of the probabilities of databases, or of
            parts by :obj:`"<database>/<part>"`; :obj:`*` stands for any letters.
            (default: :obj:`None`)
        flip_rate (float): The share of groups whose text embeddings are changed by
            :func:`~torch_geometric_rfm.data.flip_embeddings`. (default: :obj:`0.0`)
        negate_rate (float): The share of groups whose labels are changed by
            :func:`~torch_geometric_rfm.data.negate_labels`. (default: :obj:`0.0`)
        episode_steps (int): The number of consecutive batches that are all of one
            part, with the same size, signs and sense; with 1 each group draws its own.
            (default: :obj:`1`)
        seed (int): Seed of all draws. (default: :obj:`0`)
        rank, num_replicas (int): This process takes every
            :obj:`num_replicas`-th group of each batch, from the :obj:`rank`-th on.
            (default: :obj:`0`, :obj:`1`)
        num_slices (int): Parts in which a batch of a rank is given, one after the
            other, to be accumulated. (default: :obj:`1`)
        start (int): The first batch. (default: :obj:`0`)
        num_workers (int): Processes that sample. (default: :obj:`0`)
        **sampling: Further arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Raises:
        ValueError: If there are no parts, one has no inputs, or sizes do not divide.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> parts = [MixturePart('shop', toy_task_store(kind))
        ...          for kind in ('binary', 'regression')]
        >>> loader = MixtureLoader(parts, batch_size=8, num_cells=[16, 32])
        >>> next(iter(loader)).num_contexts
        8
    """

    def __init__(
        self,
        parts: Sequence[MixturePart],
        batch_size: int = 32,
        group_size: int = 4,
        num_cells: Sequence[int] = (128,),
        temperature: float = 2.0,
        weights: dict[str, float] | None = None,
        flip_rate: float = 0.0,
        negate_rate: float = 0.0,
        episode_steps: int = 1,
        seed: int = 0,
        rank: int = 0,
        num_replicas: int = 1,
        num_slices: int = 1,
        start: int = 0,
        num_workers: int = 0,
        **sampling: Any,
    ) -> None:
        if not parts:
            raise ValueError('a mixture needs at least one part (got none)')
        slices = num_replicas * num_slices
        if batch_size < 1 or batch_size % (group_size * slices):
            raise ValueError(
                f"'batch_size' must be a multiple of group_size * num_replicas * "
                f'num_slices = {group_size * slices} (got {batch_size})'
            )
        if not num_cells or not 0 <= rank < num_replicas:
            raise ValueError(
                f"'num_cells' must not be empty and 'rank' lie in [0, num_replicas) "
                f'(got {list(num_cells)}, {rank} of {num_replicas})'
            )
        for name, rate in (('flip_rate', flip_rate), ('negate_rate', negate_rate)):
            if not 0 <= rate <= 1:
                raise ValueError(f"'{name}' must lie in [0, 1] (got {rate})")
        if episode_steps < 1:
            raise ValueError(f"'episode_steps' must be positive (got {episode_steps})")
        self.parts, self.episode_steps = list(parts), episode_steps
        self.flip_rate, self.negate_rate = flip_rate, negate_rate
        self.context_size, self.group_size = list(num_cells), group_size
        self.num_groups = batch_size // group_size
        self.mixture_seed, self.sampling = seed, sampling
        self.rank, self.num_replicas = rank, num_replicas
        self.num_slices, self.start = num_slices, start
        self._loaders: dict[tuple[int, int], ContextLoader] = {}
        # The smallest contexts are the strictest about seeds.
        sizes = [len(self._open(i, min(num_cells)).rows) for i in range(len(parts))]
        self.probability = mixture_weights(
            [part.database for part in parts], sizes, temperature
        )
        self.probability *= part_factors(parts, weights or {})
        self.probability /= self.probability.sum()
        self.sizes = sizes
        super().__init__(
            _Slices(self),
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_same,
            persistent_workers=num_workers > 0,
        )

    def _open(self, part: int, num_cells: int) -> ContextLoader:
        key = (part, num_cells)
        if key not in self._loaders:
            source = self.parts[part]
            try:
                self._loaders[key] = ContextLoader(
                    source.store,
                    input_nodes=source.input_nodes,
                    input_time=source.input_time,
                    transform=source.transform,
                    num_cells=num_cells,
                    seed=self.mixture_seed,
                    **self.sampling,
                )
            except ValueError as error:
                raise ValueError(f'{source}: {error}') from error
        return self._loaders[key]

    def draws(self, position: int) -> list[Draw]:
        r"""What the groups of a batch are made of, of all ranks and slices."""
        rng = np.random.default_rng((self.mixture_seed, position // self.episode_steps))
        num_cells = self.context_size[rng.integers(len(self.context_size))]
        count = 1 if self.episode_steps > 1 else self.num_groups
        chosen = rng.choice(len(self.parts), count, p=self.probability)
        inputs = [rng.integers(self.sizes[i], size=self.group_size) for i in chosen]
        flipped = rng.random(count) < self.flip_rate
        seeds = np.where(flipped, rng.integers(2**31, size=count), -1)
        negated = rng.random(count) < self.negate_rate
        if self.episode_steps > 1:  # Each batch draws rows of its own.
            rng = np.random.default_rng((self.mixture_seed, position, 1))
            size = self.num_groups, self.group_size
            inputs = list(rng.integers(self.sizes[chosen[0]], size=size))
            chosen, seeds, negated = (
                np.repeat(drawn, self.num_groups) for drawn in (chosen, seeds, negated)
            )
        groups = zip(chosen.tolist(), inputs, seeds.tolist(), negated.tolist())
        return [
            Draw(part, num_cells, rows, None if seed < 0 else seed, negate)
            for part, rows, seed, negate in groups
        ]

    def _slice(self, position: int, number: int) -> list[Draw]:
        first = self.rank * self.num_slices + number
        return self.draws(position)[first :: self.num_replicas * self.num_slices]

    def _sample(self, draw: Draw, position: int) -> Any:
        loader = self._open(draw.part, draw.num_cells)
        return loader.collate_fn([(position, int(i)) for i in draw.inputs])

    def groups(self, position: int) -> list[tuple[MixturePart, CellData]]:
        r"""The groups of a batch, of this rank, with what they are made of."""
        out = []
        for number in range(self.num_slices):
            for draw in self._slice(position, number):
                group = self._sample(draw, position)
                out.append((self.parts[draw.part], self._receive(draw, group)))
        return out

    def _receive(self, draw: Draw, group: Any) -> CellData:
        cells: CellData = self._open(draw.part, draw.num_cells)._receive(group)
        if draw.negate:
            cells = negate_labels(cells)
        return cells if draw.flip is None else flip_embeddings(cells, draw.flip)

    def __iter__(self) -> Iterator[CellData]:  # type: ignore[override]
        for draws, groups in super().__iter__():
            yield concatenate(
                [self._receive(draw, group) for draw, group in zip(draws, groups)]
            )

    def __len__(self) -> int:
        raise TypeError('a mixture has no end')

    def __repr__(self) -> str:
        databases = len({part.database for part in self.parts})
        return (
            f'{self.__class__.__name__}(databases={databases}, '
            f'parts={len(self.parts)}, inputs={sum(self.sizes)})'
        )


def _same(value: Any) -> Any:
    return value


class _Slices(IterableDataset):
    # Slices of batches without end; worker w has every num_workers-th of them.
    def __init__(self, loader: MixtureLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        step = 1 if worker is None else worker.num_workers
        if worker is not None:
            torch.set_num_threads(1)
        i = self.loader.start * self.loader.num_slices
        i += 0 if worker is None else worker.id
        while True:
            position, number = divmod(i, self.loader.num_slices)
            draws = self.loader._slice(position, number)
            yield draws, [self.loader._sample(draw, position) for draw in draws]
            i += step
