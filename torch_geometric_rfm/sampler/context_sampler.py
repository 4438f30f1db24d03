from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.task_store import TaskStore, empty_task_arrays
from torch_geometric_rfm.sampler.emission import Limits, Output, sample_batch
from torch_geometric_rfm.sampler.kernels import new_frontier, num_cells_of

SEED_CELLS = 2
r"""Cells of a seed row of a task table: its label and its time."""


class ContextSampler:
    r"""Samples the relational contexts of seed rows.

    From the seed outwards: all parents of a visited row, and of the children
    known by then at most :obj:`num_neighbors` a foreign key, breadth first,
    until :obj:`num_cells` cells are reached. Labels of the task that were
    known by then, the entity's own first, take a share of the cells. The cost
    is in proportion to the context, not to the database.

    A database row enters only if it is undated or its time is at most
    :obj:`visible_until`, parents included; a label only if its time is before
    :obj:`visible_until` and its horizon is over by then.

    Args:
        store (CellStore or TaskStore): The database, alone or with a task.
        num_cells (int): Cells of a context at most. (default: :obj:`256`)
        num_neighbors (int or dict): Children drawn per row and foreign key,
            -1 for all; a dictionary by :obj:`"<table>.<fkey>"` leaves others
            at 16. (default: :obj:`16`)
        temporal_strategy (str): :obj:`"last"` draws the latest children,
            :obj:`"uniform"` any. (default: :obj:`"last"`)
        own_labels (float): Share of the cells for past labels of the entity.
            (default: :obj:`0.15`)
        other_labels (float): Share of the cells for the latest labels of
            others. (default: :obj:`0.0`)
        strict (bool): Leave out rows of exactly the time
            :obj:`visible_until`. (default: :obj:`False`)
        seed (int): Seed of the random streams. (default: :obj:`0`)

    Raises:
        ValueError: If an argument is out of range, or a foreign key unknown.
    """

    def __init__(
        self,
        store: CellStore | TaskStore,
        num_cells: int = 256,
        num_neighbors: int | Mapping[str, int] = 16,
        temporal_strategy: str = 'last',
        own_labels: float = 0.15,
        other_labels: float = 0.0,
        strict: bool = False,
        seed: int = 0,
    ) -> None:
        self.task_store = store if isinstance(store, TaskStore) else None
        self.store = store.store if isinstance(store, TaskStore) else store
        if num_cells < SEED_CELLS:
            raise ValueError(
                f'num_cells must be at least {SEED_CELLS}, the cells of the seed row '
                f'(got {num_cells})'
            )
        if temporal_strategy not in ('last', 'uniform'):
            raise ValueError(
                f"temporal_strategy must be 'last' or 'uniform' (got "
                f"'{temporal_strategy}')"
            )
        for name, share in (('own_labels', own_labels), ('other_labels', other_labels)):
            if not 0 <= share <= 1:
                raise ValueError(f'{name} must lie in [0, 1] (got {share})')
        if own_labels + other_labels > 1:
            raise ValueError(
                f'own_labels and other_labels share the cells of a context (got '
                f'{own_labels} + {other_labels} > 1)'
            )
        self.num_cells = num_cells
        self.seed = seed
        self.num_neighbors = self._per_fkey(num_neighbors)
        free = num_cells - SEED_CELLS
        self.limits = Limits(
            num_cells=num_cells,
            own_label_cells=int(own_labels * free),
            other_label_cells=int(other_labels * free),
            uniform=temporal_strategy == 'uniform',
            strict=strict,
        )
        arrays = self.store.arrays
        self._max_incoming = int(np.diff(arrays.incoming_start).max(initial=0))
        self._max_parents = int(np.diff(arrays.fkey_start).max(initial=0))
        self._task_arrays = (
            self.task_store.arrays if self.task_store else empty_task_arrays(self.store)
        )
        self._frontier: Any = None
        self._name_tables()

    def _name_tables(self) -> None:
        source = self.task_store or self.store
        self.table_names = source.table_names
        self.column_names = source.column_names
        self.fkey_names = source.fkey_names
        self.column_embedding = source.column_embedding

    def _per_fkey(self, num_neighbors: int | Mapping[str, int]) -> NDArray[np.int64]:
        names = self.store.fkey_names
        given = num_neighbors if isinstance(num_neighbors, Mapping) else {}
        default = 16 if isinstance(num_neighbors, Mapping) else int(num_neighbors)
        unknown = set(given) - set(names)
        if unknown:
            raise ValueError(
                f'num_neighbors names unknown foreign keys (got {sorted(unknown)}, '
                f'known are: {", ".join(names)})'
            )
        out = np.array([given.get(name, default) for name in names], dtype=np.int64)
        if (out < -1).any():
            raise ValueError(
                f'num_neighbors must be -1 or not negative (got {out.min()})'
            )
        return out

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
        last = visible_until - self.limits.strict
        late = self.store.arrays.row_time[rows] > last
        if late.any():
            raise ValueError(
                f'{int(late.sum())} seeds are later than the time up to which their '
                f'context may look (first is row {rows[late][0]}). Raise input_time'
                f'{" above it, as strict excludes it" if self.limits.strict else ""}.'
            )
        hidden = self._task_arrays.hidden
        largest = max(num_cells_of(self.store.arrays, hidden, row) for row in rows)
        if largest > self.num_cells:
            raise ValueError(
                f'num_cells={self.num_cells} is below the {largest} cells of a seed row'
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
            seed_time: :obj:`[B]` unix seconds of the question.
            visible_until: :obj:`[B]` unix seconds up to which it may look.
            input_id: :obj:`[B]` what names the seed; with :obj:`seed` and
                :obj:`epoch` it determines the random draws.
            epoch: The epoch, of all or of each. (default: :obj:`0`)
        """
        num_contexts = len(rows)
        if self._frontier is None:
            self._frontier = new_frontier(
                self.num_cells, self._max_incoming, self._max_parents
            )
        out = self._new_output(num_contexts)
        keys = np.empty((num_contexts, 3), dtype=np.int64)
        keys[:, 0], keys[:, 1], keys[:, 2] = self.seed, epoch, input_id
        sample_batch(
            self.store.arrays,
            self._task_arrays,
            self.limits,
            self.num_neighbors,
            self._frontier,
            np.ascontiguousarray(rows, dtype=np.int64),
            self.task_store is not None,
            np.ascontiguousarray(visible_until, dtype=np.int64),
            np.ascontiguousarray(seed_time, dtype=np.int64),
            keys,
            out,
        )
        cells = self._to_cells(out, num_contexts)
        cells.seed_time = torch.from_numpy(np.array(seed_time, dtype=np.int64))
        cells.visible_until = torch.from_numpy(np.array(visible_until, dtype=np.int64))
        cells.input_id = torch.from_numpy(np.array(input_id, dtype=np.int64))
        if self.task_store is not None:
            cells.mask[out.ptr[:-1]] = True
            cells.target[out.ptr[:-1]] = self.task_store.target[rows]
        return cells

    def _new_output(self, num_contexts: int) -> Output:
        cells = num_contexts * self.num_cells
        # Rows of a context: those expanded, the labels and the seed.
        rows = num_contexts * (2 * self.num_cells + 1)
        links = rows * max(1, self._max_parents)

        def ints(size: int) -> NDArray[np.int64]:
            return np.empty(size, dtype=np.int64)

        return Output(
            value=np.empty(cells, dtype=np.float32),
            relative_time=np.empty(cells, dtype=np.float32),
            string=ints(cells),
            cell_type=ints(cells),
            column=ints(cells),
            row=ints(cells),
            row_time=ints(rows),
            row_table=ints(rows),
            row_index=ints(rows),
            child=ints(links),
            parent=ints(links),
            fkey_type=ints(links),
            ptr=np.zeros(num_contexts + 1, dtype=np.int64),
            row_ptr=np.zeros(num_contexts + 1, dtype=np.int64),
            size=np.zeros(3, dtype=np.int64),
        )

    def _to_cells(self, out: Output, num_contexts: int) -> CellData:
        num_cells, num_rows, num_links = out.size

        def tensor(array: NDArray[Any], size: int) -> torch.Tensor:
            return torch.from_numpy(array[:size].copy())

        strings, text_index = np.unique(out.string[:num_cells], return_inverse=True)
        ptr = torch.from_numpy(out.ptr)
        mask = torch.zeros(int(num_cells), dtype=torch.bool)
        return CellData(
            value=tensor(out.value, num_cells),
            relative_time=tensor(out.relative_time, num_cells),
            text_index=torch.from_numpy(text_index.reshape(-1).astype(np.int64)),
            cell_type=tensor(out.cell_type, num_cells),
            column=tensor(out.column, num_cells),
            row=tensor(out.row, num_cells),
            row_time=tensor(out.row_time, num_rows),
            row_table=tensor(out.row_table, num_rows),
            row_index=tensor(out.row_index, num_rows),
            fkey_index=torch.stack(
                [tensor(out.child, num_links), tensor(out.parent, num_links)]
            ),
            fkey_type=tensor(out.fkey_type, num_links),
            seed_row=torch.from_numpy(out.row_ptr[:-1].copy()),
            mask=mask,
            target=torch.full((int(num_cells),), float('nan')),
            text_embedding=self.store.text_embedding[torch.from_numpy(strings)],
            column_embedding=self.column_embedding,
            table_names=self.table_names,
            column_names=self.column_names,
            fkey_names=self.fkey_names,
            batch=torch.repeat_interleave(
                torch.arange(num_contexts), ptr.diff(), output_size=int(num_cells)
            ),
            ptr=ptr,
            num_nodes=int(num_cells),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_frontier': None}

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.task_store or self.store})'
