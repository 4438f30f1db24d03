from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.link_task import LinkTask
from torch_geometric_rfm.data.pair_history import PairHistory
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loader.context_loader import ContextLoader
from torch_geometric_rfm.sampler.context_policy import LocalNeighborhood
from torch_geometric_rfm.sampler.context_sampler import ContextSampler

DESTINATION_CELLS = 32
r"""Cells of the context of a destination at most."""

Rows = NDArray[np.int64]


class LinkContexts:
    r"""Contexts of entities and of destinations of a recommendation task, and what
    is counted of them.

    Args:
        store (TaskStore): The database with the task.
        rows (array): Rows of the task table.
        protocol (str): :obj:`"rolling"` or :obj:`"frozen"`.
        seed (int): Seed of the draws.
        pair_history (PairHistory, optional): That of the task, if there already.
            (default: :obj:`None`)
        **sampling: Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Raises:
        TypeError: If it is no recommendation task.
    """

    def __init__(
        self,
        store: TaskStore,
        rows: Rows,
        protocol: str = 'rolling',
        seed: int = 0,
        pair_history: PairHistory | None = None,
        **sampling: Any,
    ) -> None:
        task = store.task
        if not isinstance(task, LinkTask):
            raise TypeError(
                f"task '{task.name}' recommends nothing (got {type(task).__name__}); "
                'predict it by predict_rows'
            )
        self.store, self.task, self.rows = store, task, rows
        self.loader = ContextLoader(
            store, input_nodes=rows, protocol=protocol, seed=seed, **sampling
        )
        self.until: Rows = self.loader.visible_until
        self.entity = task.frame['entity'].to_numpy(dtype=np.int64)[rows]
        self.truth: list[Rows] = [task.frame['destinations'].iloc[row] for row in rows]
        strict = bool(sampling.get('strict', False))
        self.pair_history = pair_history or PairHistory(
            store.store,
            task.entity_table,
            task.destination_table,
            int(task.horizon.total_seconds()),
            strict,
        )
        self.table = store.store.table_names.index(task.destination_table)
        self.first = int(store.store.arrays.table_start[self.table])
        self._popularity: dict[int, Tensor] = {}
        self._sampler = ContextSampler(
            store.store,
            [
                LocalNeighborhood(
                    sampling.get('num_neighbors', 16),
                    sampling.get('temporal_strategy', 'last'),
                )
            ],
            min(DESTINATION_CELLS, sampling.get('num_cells', DESTINATION_CELLS)),
            strict,
            seed,
        )
        # What the task hides is hidden from its destinations, too.
        arrays = self._sampler._task_arrays
        self._sampler._task_arrays = arrays._replace(hidden=store.arrays.hidden)

    @property
    def num_destinations(self) -> int:
        r"""Rows of the destination table."""
        return self.pair_history.num_destinations

    def sources(self, index: Rows, epoch: int = 0) -> CellData:
        r"""Contexts of entities, by positions in :obj:`rows`."""
        return self.loader.collate_fn([(epoch, int(i)) for i in index])

    def destinations(self, chosen: Rows, until: int, epoch: int = 0) -> CellData:
        r"""Contexts of destinations, as known at a time."""
        rows = chosen + self.first
        time = np.full(len(rows), until, dtype=np.int64)
        return self._sampler.sample(rows, time, time, rows, epoch)

    def existing(self, until: int) -> NDArray[np.bool_]:
        r"""Whether each destination is there at a time :obj:`[D]`."""
        return self.pair_history.exists_from <= until - self.pair_history.strict

    def pairs(self, index: Rows) -> tuple[Tensor, Tensor]:
        r"""Index :obj:`[2, P]` and figures :obj:`[P, F]` of pairs that met before."""
        found = self.pair_history.pairs(self.entity[index], self.until[index])
        pair_index = np.stack([found.seed, found.destination])
        return torch.from_numpy(pair_index), torch.from_numpy(found.value)

    def popularity(self, until: int) -> Tensor:
        r"""Figures of all destinations :obj:`[D, F]` at a time."""
        if until not in self._popularity:
            if len(self._popularity) >= 64:
                self._popularity.clear()
            self._popularity[until] = torch.from_numpy(
                self.pair_history.popularity(until)
            )
        return self._popularity[until]


def time_batches(
    until: Rows, batch_size: int, rng: np.random.Generator | None = None
) -> list[Rows]:
    r"""Batches of neighbouring times: of one time alone where many rows share it.

    Args:
        until: The time of each row.
        batch_size: Rows of a batch at most.
        rng: Shuffles rows of equal time, and batches. (default: :obj:`None`)

    Example:
        >>> time_batches(np.array([5, 1, 5, 1, 1]), batch_size=2)
        [array([1, 3]), array([4]), array([0, 2])]
    """
    order = np.argsort(until, kind='stable')
    if rng is not None:
        shuffled = rng.permutation(len(until))
        order = shuffled[np.argsort(until[shuffled], kind='stable')]
    bounds = np.flatnonzero(np.diff(until[order])) + 1
    out: list[Rows] = []
    waiting: list[Rows] = []
    for group in np.split(order, bounds):
        if 2 * len(group) >= batch_size:
            out += np.array_split(group, -(-len(group) // batch_size))
            continue
        if sum(map(len, waiting)) + len(group) > batch_size:
            out.append(np.concatenate(waiting))
            waiting = []
        waiting.append(group)
    if waiting:
        out.append(np.concatenate(waiting))
    if rng is not None:
        out = [out[i] for i in rng.permutation(len(out))]
    return out
