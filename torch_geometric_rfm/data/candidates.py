import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.column_values import present_values, table_of_column
from torch_geometric_rfm.data.task_store import TaskStore


class Candidates:
    r"""The values that cells of category columns may have.

    Those of a column are the strings that it holds in rows up to the cutoff of the
    store and in undated tables, each once; those of a label are the classes of the
    task, in their order. They are looked up once a column.

    A cell whose truth is none of them, or whose column has one value alone, has
    nothing to choose: its :obj:`target` becomes NaN, so that it does not count.
    Different strings of the same embedding are different candidates of the same
    probability.

    Args:
        store (CellStore or TaskStore): The database, with or without a task.
        max_candidates (int): Candidates of a column at most. Where it has more, a
            batch gets those that are true of its cells and others at random.
            (default: :obj:`1024`)
        seed (int): Seed of these draws. (default: :obj:`0`)

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> candidates = Candidates(store)
        >>> len(candidates.of_column(store.column_names.index('status of orders')))
        3
    """

    def __init__(
        self, store: CellStore | TaskStore, max_candidates: int = 1024, seed: int = 0
    ) -> None:
        if max_candidates < 2:
            raise ValueError(
                f"'max_candidates' must be at least 2 (got {max_candidates})"
            )
        self.task_store = store if isinstance(store, TaskStore) else None
        self.store = store.store if isinstance(store, TaskStore) else store
        self.max_candidates = max_candidates
        self.seed = seed
        self._strings: dict[int, NDArray[np.int64]] = {}

    def of_column(self, column: int) -> NDArray[np.int64]:
        r"""The strings of a column, as the store numbers them; of a label, its
        classes, numbered after them.
        """
        if column not in self._strings:
            self._strings[column] = self._find(column)
        return self._strings[column]

    def _find(self, column: int) -> NDArray[np.int64]:
        if column >= len(self.store.column_names):
            assert self.task_store is not None
            first = len(self.store.text_embedding)
            return np.arange(first, first + len(self.task_store.task.classes))
        table = table_of_column(self.store, column)
        first, last = self.store.arrays.table_start[table : table + 2]
        return np.unique(present_values(self.store, column, np.arange(last - first)))

    def attach(self, cells: CellData, strings: Tensor) -> CellData:
        r"""Adds :obj:`candidate_embedding`, :obj:`candidate_column` and
        :obj:`target_candidate` for the categories that are to be predicted.

        Args:
            cells (CellData): Contexts of a sampler, masked or not.
            strings (Tensor): The string of the store for each number in their
                :obj:`text_index`, as it came with them.
        """
        asked = cells.predict_mask & (cells.cell_type == CellType.CATEGORY)
        index = asked.nonzero().view(-1).numpy()
        truth = self._truth(cells, index, strings.numpy())
        column = cells.column.numpy()[index]
        position = np.zeros(cells.num_nodes, dtype=np.int64)
        target = cells.target.numpy().copy()
        chosen, columns = [np.zeros(0, dtype=np.int64)], []
        start = 0
        for c in np.unique(column):
            at = np.flatnonzero(column == c)
            candidates = self._of_batch(int(c), truth[at], cells)
            place = np.searchsorted(candidates, truth[at])
            place = np.minimum(place, max(0, candidates.size - 1))
            known = np.zeros(at.size, dtype=bool)
            if candidates.size > 1:
                known = candidates[place] == truth[at]
            position[index[at]] = start + np.where(known, place, 0)
            target[index[at[~known]]] = np.nan
            chosen.append(candidates)
            columns.append(np.full(candidates.size, c, dtype=np.int64))
            start += candidates.size
        source = self.task_store or self.store
        cells.candidate_embedding = source.embed_numbers(np.concatenate(chosen))
        cells.candidate_column = torch.from_numpy(
            np.concatenate([np.zeros(0, dtype=np.int64), *columns])
        )
        cells.target_candidate = torch.from_numpy(position)
        cells.target = torch.from_numpy(target)
        return cells

    def _truth(
        self, cells: CellData, index: NDArray[np.int64], strings: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        # The string of each category to predict, -1 where unknown.
        truth = np.full(index.size, -1, dtype=np.int64)
        text = cells.get('target_text_index')
        if text is not None:
            number = text.numpy()[index]
            known = number < len(strings)
            truth[known] = strings[number[known]]
        if self.task_store is not None:
            row = cells.row.numpy()[index]
            is_label = cells.column.numpy()[index] == len(self.store.column_names)
            is_label &= np.isin(row, cells.seed_row.numpy())
            label = cells.row_index.numpy()[row[is_label]]
            truth[is_label] = self.task_store.arrays.string[label]
        truth[np.isnan(cells.target.numpy()[index])] = -1
        return truth

    def _of_batch(
        self, column: int, truth: NDArray[np.int64], cells: CellData
    ) -> NDArray[np.int64]:
        candidates = self.of_column(column)
        is_label = column >= len(self.store.column_names)
        if candidates.size <= self.max_candidates or is_label:
            return candidates
        needed = np.intersect1d(truth, candidates)
        others = np.setdiff1d(candidates, needed)
        first = cells.input_id[:1].tolist()
        rng = np.random.default_rng((self.seed, column, *first))
        more = max(0, self.max_candidates - needed.size)
        return np.union1d(needed, rng.choice(others, more, replace=False))

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f'{name}({self.store}, max_candidates={self.max_candidates})'
