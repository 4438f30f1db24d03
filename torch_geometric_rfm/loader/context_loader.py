from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.loader.epoch_sampler import (
    EpochSampler,
    Identity,
    split_epochs,
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
            :class:`~torch_geometric_rfm.sampler.ContextSampler`.
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
        temporal_strategy, own_labels, other_labels, strict: See
            :class:`~torch_geometric_rfm.sampler.ContextSampler`.
        transform (Callable, optional): Applied to every batch, in the worker.
            (default: :obj:`None`)
        batch_size (int): Contexts of a batch. (default: :obj:`32`)
        shuffle (bool): Whether to reorder the inputs every epoch.
            (default: :obj:`False`)
        seed (int): Determines order and draws. (default: :obj:`0`)
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
        own_labels: float = 0.15,
        other_labels: float = 0.0,
        strict: bool = False,
        transform: Callable[[CellData], CellData] | None = None,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs.pop('dataset', None)
        kwargs.pop('collate_fn', None)
        self.context_sampler = ContextSampler(
            store,
            num_cells,
            num_neighbors,
            temporal_strategy,
            own_labels,
            other_labels,
            strict,
            seed,
        )
        self.transform = transform
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
        if order is None and kwargs.get('batch_sampler') is None:
            order = EpochSampler(len(self.rows), shuffle, seed)
        if kwargs.get('batch_sampler') is not None:
            batch_size = 1
        super().__init__(
            Identity(len(self.rows)),
            batch_size=batch_size,
            sampler=order,
            collate_fn=self.collate_fn,
            **kwargs,
        )

    def collate_fn(self, inputs: list[Any]) -> CellData:
        r"""Samples the contexts of a list of inputs, each an index or an
        :obj:`(epoch, index)` pair.
        """
        epoch, index = split_epochs(inputs)
        cells = self.context_sampler.sample(
            self.rows[index],
            self.seed_time[index],
            self.visible_until[index],
            index,
            epoch,
        )
        return cells if self.transform is None else self.transform(cells)

    def set_epoch(self, epoch: int) -> None:
        r"""Sets the epoch that the next iteration counts as."""
        if isinstance(self.sampler, EpochSampler):
            self.sampler.epoch = epoch

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
    time = torch.as_tensor(input_time).numpy().astype(np.int64)
    time = np.full(num_rows, time) if time.ndim == 0 else time
    if time.shape != (num_rows,):
        raise ValueError(
            f'input_time must have one entry a seed (got {list(time.shape)} for '
            f'{num_rows} seeds)'
        )
    return time
