from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch_geometric.loader.base import DataLoaderIterator

from torch_geometric_rfm.data.candidates import Candidates
from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.column_sample import ColumnSample
from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loader.epoch_sampler import (
    EpochSampler,
    Identity,
    split_epochs,
)
from torch_geometric_rfm.loader.packing import PackedBatch
from torch_geometric_rfm.sampler.context_policy import (
    DEFAULT_OWN_LABELS,
    History,
    LocalNeighborhood,
    OwnLabels,
    RandomLabels,
    RecentLabels,
)
from torch_geometric_rfm.sampler.context_sampler import ContextSampler


class ContextLoader(DataLoader):
    r"""Loads mini-batches of relational contexts as
    :class:`~torch_geometric_rfm.data.CellData`.

    Batches depend on :obj:`seed` and the epoch alone, not on the number of
    workers. With a task the label of a seed is hidden from the start.

    Args:
        store (TaskStore or CellStore): The database, with or without a task.
        num_neighbors (int or dict): See
            :class:`~torch_geometric_rfm.sampler.LocalNeighborhood`.
            (default: :obj:`16`)
        input_nodes (str, Tensor or tuple): A split of the task, rows of its
            task table, or, without a task, a tuple of a table and rows of it
            (or :obj:`None` for all). (default: :obj:`"train"`)
        input_time (Tensor, optional): :obj:`[len(input_nodes)]` unix seconds
            of the seeds. Needed without a task, and not allowed with one.
            (default: :obj:`None`)
        protocol (str): :obj:`"rolling"` or :obj:`"frozen"`.
            (default: :obj:`"rolling"`)
        num_cells (int): Cells of a context at most. (default: :obj:`256`)
        temporal_strategy (str): See
            :class:`~torch_geometric_rfm.sampler.LocalNeighborhood`.
            (default: :obj:`"last"`)
        own_labels, recent_labels, random_labels (float): Shares of the cells
            for labels, see :class:`~torch_geometric_rfm.sampler.OwnLabels`,
            :class:`~torch_geometric_rfm.sampler.RecentLabels` and
            :class:`~torch_geometric_rfm.sampler.RandomLabels`.
            (default: :obj:`0.3`, :obj:`0.0`, :obj:`0.0`)
        history (float): Share of the cells at most for summaries of what is known of
            the seed's entity and of all labels, see
            :class:`~torch_geometric_rfm.sampler.History`.
            (default: :obj:`0.0`)
        strict, num_threads: See
            :class:`~torch_geometric_rfm.sampler.ContextSampler`.
        transform (Callable, optional): Applied to every batch, in the worker. It
            finds there a :class:`~torch_geometric_rfm.data.ColumnSample` as
            :obj:`column_sample`, which is taken off afterwards.
            (default: :obj:`None`)
        batch_size (int): Contexts of a batch. (default: :obj:`32`)
        shuffle (bool): Whether to reorder the inputs every epoch.
            (default: :obj:`False`)
        seed (int): Determines order and draws. (default: :obj:`0`)
        rank, num_replicas (int): This process takes every
            :obj:`num_replicas`-th input, from the :obj:`rank`-th on. Together
            the ranks have every input once, so that their numbers of batches
            may differ; with :obj:`drop_last` they are equal.
            (default: :obj:`0`, :obj:`1`)
        **kwargs: Further arguments of :class:`torch.utils.data.DataLoader`.

    Raises:
        ValueError: If the inputs do not fit the store.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> loader = ContextLoader(toy_task_store(), num_cells=32, batch_size=4)
        >>> next(iter(loader)).num_contexts
        4
    """

    def __init__(
        self,
        store: TaskStore | CellStore,
        num_neighbors: Any = 16,
        input_nodes: Any = 'train',
        input_time: Tensor | None = None,
        protocol: str = 'rolling',
        num_cells: int = 256,
        temporal_strategy: str = 'last',
        own_labels: float = DEFAULT_OWN_LABELS,
        recent_labels: float = 0.0,
        random_labels: float = 0.0,
        history: float = 0.0,
        strict: bool = False,
        num_threads: int = 1,
        transform: Callable[[CellData], CellData] | None = None,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        num_replicas: int = 1,
        **kwargs: Any,
    ) -> None:
        kwargs.pop('dataset', None)
        kwargs.pop('collate_fn', None)
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f'rank must lie in [0, num_replicas) (got rank={rank}, '
                f'num_replicas={num_replicas})'
            )
        shares = (
            History(history),
            OwnLabels(own_labels),
            RecentLabels(recent_labels),
            RandomLabels(random_labels),
        )
        policies = [
            LocalNeighborhood(num_neighbors, temporal_strategy),
            *(policy for policy in shares if policy.share > 0),
        ]
        self.context_sampler = ContextSampler(
            store, policies, num_cells, strict, seed, num_threads
        )
        self.transform = transform
        names = self.context_sampler.shared['column_names']
        self.column_sample = ColumnSample(store, seed=seed, num_columns=len(names))
        self.candidates = Candidates(store, seed=seed)
        if isinstance(store, TaskStore):
            if input_time is not None:
                raise ValueError(
                    'input_time is the time of the task rows; leave it out'
                )
            self.rows = _task_rows(store, input_nodes)
            self.seed_time = store.arrays.time[self.rows]
            self.visible_until = store.visible_until(self.rows, protocol)
        else:
            self.rows = _table_rows(store, input_nodes)
            self.seed_time = _checked_time(input_time, len(self.rows))
            self.visible_until = self.seed_time
            if protocol != 'rolling':
                raise ValueError(
                    f"protocol must be 'rolling' for a store without a task, which has "
                    f"no splits (got '{protocol}')"
                )
        self.context_sampler.check_seeds(self.rows, self.visible_until)
        order = kwargs.pop('sampler', None)
        if shuffle and (order is not None or kwargs.get('batch_sampler') is not None):
            raise ValueError(
                'shuffle=True excludes a sampler and a batch_sampler, which give the '
                'order themselves'
            )
        if order is None and kwargs.get('batch_sampler') is None:
            order = EpochSampler(
                len(self.rows),
                shuffle,
                seed,
                rank=rank,
                num_replicas=num_replicas,
                even=kwargs.get('drop_last', False),
            )
        elif num_replicas > 1:
            raise ValueError(
                'rank and num_replicas shard the own order of the loader; leave them '
                'out with a sampler or batch_sampler'
            )
        self._epoch = -1
        self._num_batches = 0
        self._resumed: tuple[int, int] | None = None
        self._latest: object = None
        if kwargs.get('batch_sampler') is not None:
            batch_size = 1
        super().__init__(
            Identity(len(self.rows)),
            batch_size=batch_size,
            sampler=order,
            collate_fn=self.collate_fn,
            **kwargs,
        )

    def collate_fn(self, inputs: list[Any]) -> Any:
        r"""Samples the contexts of a list of inputs, each an index or an
        :obj:`(epoch, index)` pair.

        In a worker it returns them packed, as :meth:`_receive` expects them; the
        few strings as an array, since each tensor costs a message of its own.
        """
        epoch, index = split_epochs(inputs)
        cells, strings = self.context_sampler.sample_indices(
            self.rows[index],
            self.seed_time[index],
            self.visible_until[index],
            index,
            epoch,
        )
        in_worker = get_worker_info() is not None
        if in_worker and self.transform is None:
            return PackedBatch(cells), strings.numpy(), None
        cells = self.context_sampler.attach(cells, strings)
        embedding = cells.text_embedding
        if self.transform is not None:
            cells.column_sample = self.column_sample
            cells = self.transform(cells)
        if not isinstance(cells, CellData):
            return cells
        if cells.get('column_sample') is self.column_sample:
            del cells.column_sample
        if not in_worker:
            return self.candidates.attach(cells, strings)
        # What the receiver can look up itself need not travel.
        known = {'text_embedding': embedding, **self.context_sampler.shared}
        same = [key for key, value in known.items() if cells.get(key) is value]
        for key in same:
            del cells[key]
        return PackedBatch(cells), strings.numpy(), same

    def _receive(self, batch: Any) -> Any:
        is_packed = isinstance(batch, (tuple, list)) and len(batch) == 3
        if not is_packed or not isinstance(batch[0], PackedBatch):
            return batch
        cells, strings, same = batch[0].unpack(), batch[1], batch[2]
        strings = torch.from_numpy(strings)
        cells = self.context_sampler.attach(cells, strings, same)
        return self.candidates.attach(cells, strings)

    def _get_iterator(self) -> Any:
        return DataLoaderIterator(super()._get_iterator(), self._receive)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        start = 0
        if isinstance(self.sampler, EpochSampler):
            self._epoch, start = self._resumed or (self._epoch + 1, 0)
            self._resumed = None
            self.sampler.epoch = self._epoch
            self.sampler.skip = start * (self.batch_size or 1)
        self._num_batches = start
        self._latest = latest = object()
        for i, batch in enumerate(super().__iter__(), start + 1):
            if self._latest is latest:
                self._num_batches = i
            yield batch

    def set_epoch(self, epoch: int) -> None:
        r"""Sets the epoch that the next iteration counts as, from its start unless
        :meth:`load_state_dict` stands within it.
        """
        if self._resumed is None or self._resumed[0] != epoch:
            self._resumed = (epoch, 0)

    def state_dict(self) -> dict[str, int]:
        r"""Where the latest iteration stands: its epoch and the number of batches
        that it gave; nothing if the order is not the loader's own.
        """
        if not isinstance(self.sampler, EpochSampler):
            return {}
        if self._resumed is not None:
            return {'epoch': self._resumed[0], 'num_batches': self._resumed[1]}
        return {'epoch': max(self._epoch, 0), 'num_batches': self._num_batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        r"""Lets the next iteration go on where another loader of the same
        arguments stood; a finished epoch is followed by the next.

        Raises:
            ValueError: If the order is not the loader's own.
        """
        if not state:
            return
        if not isinstance(self.sampler, EpochSampler):
            raise ValueError(
                'a loader with a sampler or batch_sampler of its own cannot be resumed'
            )
        epoch, num_batches = state['epoch'], state['num_batches']
        if num_batches >= len(self):
            epoch, num_batches = epoch + 1, 0
        self._resumed = (epoch, num_batches)

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({len(self.rows)})'


def _task_rows(store: TaskStore, input_nodes: Any) -> np.ndarray:
    if isinstance(input_nodes, str):
        return store.rows_of_split(input_nodes)
    rows = _positions(input_nodes)
    num_rows = len(store.arrays.time)
    if rows.ndim != 1 or rows.size == 0:
        raise ValueError(
            f'input_nodes must be a split or a vector of rows of the task table (got '
            f'shape {list(rows.shape)})'
        )
    if rows.min() < 0 or rows.max() >= num_rows:
        raise ValueError(
            f'input_nodes must lie in [0, {num_rows}) (got {rows.min()} to '
            f'{rows.max()})'
        )
    return rows


def _table_rows(store: CellStore, input_nodes: Any) -> np.ndarray:
    if isinstance(input_nodes, str):
        input_nodes = (input_nodes, None)
    if not isinstance(input_nodes, tuple) or len(input_nodes) != 2:
        raise ValueError(
            'input_nodes must be a table, or a tuple of a table and rows of it, for a '
            f'store without a task (got {type(input_nodes).__name__})'
        )
    table, rows = input_nodes
    if table not in store.table_names:
        raise ValueError(
            f"input_nodes names an unknown table (got '{table}', known are: "
            f'{", ".join(store.table_names)})'
        )
    number = store.table_names.index(table)
    first, last = store.arrays.table_start[number : number + 2]
    if rows is None:
        return np.arange(first, last)
    rows = _positions(rows)
    if rows.size == 0 or rows.min() < 0 or rows.max() >= last - first:
        raise ValueError(
            f"input_nodes must be rows of table '{table}', in [0, {last - first})"
        )
    return rows + first


def _positions(rows: Any) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool:  # A mask, as PyG's loaders take it.
        return np.flatnonzero(rows)
    return rows.astype(np.int64)


def _checked_time(input_time: Any, num_rows: int) -> np.ndarray:
    if input_time is None:
        raise ValueError('input_time is needed for a store without a task')
    time = torch.as_tensor(input_time).numpy()
    if time.dtype.kind not in 'iu':
        raise ValueError(
            f'input_time must be whole unix seconds (got {time.dtype}); convert it'
        )
    time = time.astype(np.int64)
    if (time == MISSING_TIME).any():
        raise ValueError('input_time must not be missing (got NaT)')
    time = np.full(num_rows, time) if time.ndim == 0 else time
    if time.shape != (num_rows,):
        raise ValueError(
            f'input_time must have one entry a seed (got {list(time.shape)} for '
            f'{num_rows} seeds)'
        )
    return time
