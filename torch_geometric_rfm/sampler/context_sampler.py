import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.column_quantiles import column_quantiles
from torch_geometric_rfm.data.fkey_phrases import fkey_phrases
from torch_geometric_rfm.data.raw_table import MISSING_TIME
from torch_geometric_rfm.data.store_arrays import NEVER
from torch_geometric_rfm.data.task_store import TaskStore, empty_task_arrays
from torch_geometric_rfm.sampler.context_policy import (
    DEFAULT_OWN_LABELS,
    ContextPolicy,
    History,
    LabelPolicy,
    LocalNeighborhood,
    OwnLabels,
)
from torch_geometric_rfm.sampler.emission import Limits, sample_batch, shift_chunk
from torch_geometric_rfm.sampler.entity_history import EntityHistory
from torch_geometric_rfm.sampler.kernels import first_too_large, new_frontier
from torch_geometric_rfm.sampler.labels import LABEL_CELLS
from torch_geometric_rfm.sampler.output import Output, OutputLayout, to_cells


class ContextSampler:
    r"""Samples the relational contexts of seed rows.

    From the seed outwards: all parents of a visited row, and of the children
    known by then some of every foreign key, breadth first, until
    :obj:`num_cells` cells are reached. Known labels of the task take a share of
    the cells. The cost is in proportion to the context, not to the database.

    A database row enters only if it is undated or its time is at most
    :obj:`visible_until`, parents included; a label only if its time is before
    :obj:`visible_until` and its horizon is over by then. At most
    :obj:`num_cells` rows of the database are visited, too, as rows may have no
    cell.

    Args:
        store (CellStore or TaskStore): The database, alone or with a task.
        policies (sequence): What fills a context: one
            :class:`~torch_geometric_rfm.sampler.LocalNeighborhood`, and shares
            for a :class:`~torch_geometric_rfm.sampler.History` and for labels in order
            of precedence.
            (default: :obj:`(LocalNeighborhood(), OwnLabels(0.3))`)
        num_cells (int): Cells of a context at most. (default: :obj:`256`)
        strict (bool): Leave out rows of exactly the time
            :obj:`visible_until`. (default: :obj:`False`)
        seed (int): Seed of the random streams. (default: :obj:`0`)
        num_threads (int): Threads that share the seeds of a batch. Contexts do
            not depend on it. (default: :obj:`1`)

    Raises:
        ValueError: If an argument is out of range, or a foreign key unknown.

    Example:
        >>> from torch_geometric_rfm.sampler import RecentLabels
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> policies = [LocalNeighborhood(num_neighbors=4), RecentLabels(0.2)]
        >>> sampler = ContextSampler(store, policies, num_cells=32)
        >>> rows = store.rows_of_split('test')[:3]
        >>> time = store.arrays.time[rows]
        >>> sampler.sample(rows, time, time, rows).num_contexts
        3
    """

    def __init__(
        self,
        store: CellStore | TaskStore,
        policies: Sequence[ContextPolicy] | None = None,
        num_cells: int = 256,
        strict: bool = False,
        seed: int = 0,
        num_threads: int = 1,
    ) -> None:
        self.task_store = store if isinstance(store, TaskStore) else None
        self.store = store.store if isinstance(store, TaskStore) else store
        if num_cells < LABEL_CELLS:
            raise ValueError(
                f'num_cells must be at least {LABEL_CELLS}, the cells of the seed row '
                f'(got {num_cells})'
            )
        if num_threads < 1:
            raise ValueError(f'num_threads must be positive (got {num_threads})')
        if policies is None:
            policies = (LocalNeighborhood(), OwnLabels(DEFAULT_OWN_LABELS))
        self.policies = tuple(policies)
        self.num_cells = num_cells
        self.seed = seed
        self.num_threads = num_threads
        self.history = self._history(strict)
        self.limits = self._limits(strict)
        arrays = self.store.arrays
        self._max_incoming = int(np.diff(arrays.incoming_start).max(initial=0))
        self._max_parents = int(np.diff(arrays.fkey_start).max(initial=0))
        self.layout = OutputLayout(num_cells, self._max_parents)
        self._task_arrays = (
            self.task_store.arrays if self.task_store else empty_task_arrays(self.store)
        )
        self._frontiers: list[Any] = []
        self._scratch: list[dict[str, Any]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0
        source = self.task_store or self.store
        self.shared: dict[str, Any] = {
            'column_embedding': source.column_embedding,
            'column_quantiles': column_quantiles(source),
            'table_names': source.table_names,
            'column_names': source.column_names,
            'fkey_names': source.fkey_names,
            'fkey_embedding': self.store.embed(fkey_phrases(source.fkey_names)),
        }
        if self.history is not None:
            names = [*source.column_names, *self.history.names]
            self.shared['column_names'] = names
            for key in ('column_embedding', 'column_quantiles'):
                both = [self.shared[key], getattr(self.history, key)]
                self.shared[key] = torch.cat(both)
            copy_column = torch.arange(len(names))
            summaries = copy_column[len(source.column_names) :]
            summaries[self.history.is_label_mean] = len(self.store.column_names)
            self.shared['copy_column'] = copy_column

    def _history(self, strict: bool) -> EntityHistory | None:
        policies = [p for p in self.policies if isinstance(p, History)]
        if not policies or self.task_store is None:
            return None
        most = int(policies[0].share * (self.num_cells - LABEL_CELLS))
        children = policies[0].num_children
        return EntityHistory(self.task_store, most, children, strict)

    def _limits(self, strict: bool) -> Limits:
        local = [p for p in self.policies if isinstance(p, LocalNeighborhood)]
        labels = [p for p in self.policies if isinstance(p, LabelPolicy)]
        histories = [p for p in self.policies if isinstance(p, History)]
        known = len(local) + len(labels) + len(histories)
        if len(local) != 1 or len(histories) > 1 or known != len(self.policies):
            raise ValueError(
                f'policies must be one LocalNeighborhood, at most one History and any '
                f'number of label policies (got {list(self.policies)})'
            )
        sharing = [*histories, *labels]
        if sum(policy.share for policy in sharing) > 1:
            shares = ' + '.join(f'{type(p).__name__} {p.share:g}' for p in sharing)
            raise ValueError(
                f'the policies share the cells of a context (got {shares} > 1); lower '
                'one of them'
            )
        free = self.num_cells - LABEL_CELLS
        return Limits(
            num_cells=self.num_cells,
            uniform=local[0].temporal_strategy == 'uniform',
            strict=strict,
            num_neighbors=local[0].limits(self.store.fkey_names),
            label_kind=np.array([p.kind for p in labels], dtype=np.int64),
            label_cells=np.array([int(p.share * free) for p in labels], np.int64),
            fill=any(isinstance(p, OwnLabels) for p in labels),
        )

    def check_seeds(
        self, rows: NDArray[np.int64], visible_until: NDArray[np.int64]
    ) -> None:
        r"""Checks that database rows can be seeds.

        Raises:
            ValueError: If a row is later than its own context may look, or has
                more cells than a context.
        """
        if self.task_store is not None:
            return
        self.check_times(rows, visible_until)
        hidden = self._task_arrays.hidden
        size = first_too_large(self.store.arrays, hidden, rows, self.num_cells)
        if size:
            raise ValueError(
                f'num_cells={self.num_cells} is below the {size} cells of a seed row'
            )

    def check_times(
        self, rows: NDArray[np.int64], visible_until: NDArray[np.int64]
    ) -> None:
        r"""Checks that no database row is later than its own context may look.

        Raises:
            ValueError: If one is.
        """
        last = visible_until - self.limits.strict
        late = self.store.arrays.row_time[rows] > last
        if late.any():
            raise ValueError(
                f'{int(late.sum())} seeds are later than the time up to which their '
                f'context may look (first is row {rows[late][0]}). Raise input_time'
                f'{" above it, as strict excludes it" if self.limits.strict else ""}.'
            )

    def sample(
        self,
        rows: NDArray[np.int64],
        seed_time: NDArray[np.int64],
        visible_until: NDArray[np.int64],
        input_id: NDArray[np.int64],
        epoch: int | NDArray[np.int64] = 0,
    ) -> CellData:
        r"""Samples one context a seed, as one batch.

        Args:
            rows: :obj:`[B]` rows of the task table, or of the store where
                there is no task.
            seed_time: :obj:`[B]` unix seconds of the question, or one for all.
            visible_until: :obj:`[B]` unix seconds up to which it may look, or
                one for all; at most :obj:`seed_time`.
            input_id: :obj:`[B]` what names the seed; with :obj:`seed` and
                :obj:`epoch` it determines the random draws.
            epoch: The epoch, of all or of each. (default: :obj:`0`)

        Raises:
            ValueError: If rows do not exist, or a time is missing or too late.
        """
        cells, strings = self.sample_indices(
            rows, seed_time, visible_until, input_id, epoch
        )
        return self.attach(cells, strings)

    def attach(
        self, cells: CellData, strings: Tensor, keys: Sequence[str] | None = None
    ) -> CellData:
        r"""Adds to the indices of :meth:`sample_indices` what they point to, or of
        it only the attributes :obj:`keys`.
        """
        if keys is None or 'text_embedding' in keys:
            source = self.task_store or self.store
            cells.text_embedding = source.embed_numbers(strings.numpy())
        for key, value in self.shared.items():
            if keys is None or key in keys:
                cells[key] = value
        return cells

    def sample_indices(
        self,
        rows: NDArray[np.int64],
        seed_time: NDArray[np.int64],
        visible_until: NDArray[np.int64],
        input_id: NDArray[np.int64],
        epoch: int | NDArray[np.int64] = 0,
    ) -> tuple[CellData, Tensor]:
        r"""Samples contexts without embeddings, as processes exchange them.

        Takes the arguments of :meth:`sample`; returns the contexts and, for
        each number in :obj:`text_index`, the string of the store.
        """
        num_contexts = len(rows)
        seeds, times, until = self._checked(rows, seed_time, visible_until)
        keys = np.empty((num_contexts, 3), dtype=np.int64)
        keys[:, 0], keys[:, 1], keys[:, 2] = self.seed, epoch, input_id
        try:
            scratch = self._scratch.pop()
        except IndexError:
            scratch = {}
        out = self.layout.new(num_contexts, scratch)
        if self.num_threads == 1 or num_contexts == 1:
            self._sample_chunk(out, seeds, until, times, keys)
        else:
            self._sample_parallel(out, seeds, until, times, keys)
        cells, strings = to_cells(out)
        self._scratch.append(scratch)
        cells.seed_time = torch.from_numpy(times)
        cells.visible_until = torch.from_numpy(until)
        cells.input_id = torch.from_numpy(np.array(input_id, dtype=np.int64))
        cells.epoch = torch.from_numpy(keys[:, 1].copy())
        if self.task_store is not None:
            # These are views; torch would start threads of its own for them.
            cells.mask.numpy()[out.ptr[:-1]] = True
            target = self.task_store.target.numpy()[seeds]
            cells.target.numpy()[out.ptr[:-1]] = target
        return cells, strings

    def _checked(self, rows: Any, seed_time: Any, visible_until: Any) -> Any:
        # Compiled code checks nothing.
        seeds, times, until = (
            np.array(np.broadcast_to(x, (len(rows),)), dtype=np.int64)
            for x in (rows, seed_time, visible_until)
        )
        num_rows = len(self._task_arrays.time) or self.store.num_rows
        if seeds.size and not 0 <= seeds.min() <= seeds.max() < num_rows:
            raise ValueError(
                f'rows must lie in [0, {num_rows}) (got {seeds.min()} to {seeds.max()})'
            )
        if (until > times).any():
            i = int(np.argmax(until > times))
            raise ValueError(
                f'visible_until must not be later than seed_time (got {until[i]} for '
                f'{times[i]})'
            )
        if (until == MISSING_TIME).any():
            raise ValueError('visible_until must not be missing (got NaT)')
        # Nothing sees rows that have no time in a dated table.
        until = np.minimum(until, NEVER - 1)
        if self.task_store is None:
            self.check_times(seeds, until)
        return seeds, times, until

    def _sample_chunk(
        self, out: Output, seeds: Any, until: Any, times: Any, keys: Any
    ) -> None:
        try:
            work = self._frontiers.pop()
        except IndexError:
            work = new_frontier(self.num_cells, self._max_incoming, self._max_parents)
        history = np.empty((len(seeds), 0))
        if self.history is not None:
            entity = self._task_arrays.entity[seeds]
            history = self.history.values(entity, until)
        sample_batch(
            self.store.arrays,
            self._task_arrays,
            self.limits,
            work,
            seeds,
            self.task_store is not None,
            until,
            times,
            keys,
            history,
            out,
        )
        self._frontiers.append(work)

    def _sample_parallel(
        self, out: Output, seeds: Any, until: Any, times: Any, keys: Any
    ) -> None:
        if self._pool is None or self._pool_process != os.getpid():
            # The threads of a pool do not follow into a forked process.
            self._pool = ThreadPoolExecutor(self.num_threads - 1)
            self._pool_process = os.getpid()
        # Some more chunks than threads, as neither contexts nor cores are alike.
        num_chunks = min(2 * self.num_threads, len(seeds))
        bounds = np.linspace(0, len(seeds), num_chunks + 1).astype(int)
        spans = list(zip(bounds[:-1], bounds[1:]))
        # The first chunk lies where the output starts; the others are appended.
        chunks = [self.layout.part(out, first, last) for first, last in spans]
        waiting = iter(zip(chunks, spans))

        def work() -> None:
            for chunk, (first, last) in waiting:
                inputs = (x[first:last] for x in (seeds, until, times, keys))
                self._sample_chunk(chunk, *inputs)

        futures = [self._pool.submit(work) for _ in range(self.num_threads - 1)]
        work()
        for future in futures:
            future.result()
        out.size[:] = chunks[0].size
        out.ptr[: bounds[1] + 1] = chunks[0].ptr
        out.row_ptr[: bounds[1] + 1] = chunks[0].row_ptr
        for (first, _), chunk in zip(spans[1:], chunks[1:]):
            shift_chunk(out, chunk, out.size[0] == first * self.num_cells)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_frontiers': [], '_scratch': [], '_pool': None}

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.task_store or self.store})'
