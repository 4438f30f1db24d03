from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.column_values import present_values, table_of_column
from torch_geometric_rfm.data.store_arrays import (
    KIND_DATETIME,
    KIND_STRING,
)
from torch_geometric_rfm.data.task_store import TaskStore


class DrawnValues(NamedTuple):
    r"""Values of columns, as cells carry them.

    Args:
        known: :obj:`[M]` whether the column has any value to draw.
        value: :obj:`[M]` normalised, zero for strings.
        seconds: :obj:`[M]` unix seconds of datetimes, otherwise zero.
        string: :obj:`[M]` index into :obj:`store.text_embedding`, zero for
            cells that are no strings.
    """

    known: Tensor
    value: Tensor
    seconds: Tensor
    string: Tensor


class ColumnSample:
    r"""Some values of each column of a store, to put in the place of others.

    A column's values are drawn once, when they are first asked for, and depend on
    :obj:`seed` alone. They come from rows up to the cutoff of the store and from
    undated tables. Columns that the task hides have none, and neither have those
    of the task table, so that no label is among them.

    Args:
        store (CellStore or TaskStore): The database, with or without a task.
        size (int): Values of a column at most. (default: :obj:`256`)
        seed (int): Seed of the draws. (default: :obj:`0`)
        num_columns (int, optional): Columns of contexts, if a sampler puts some of its
            own behind those of the store; these have no values.
            (default: :obj:`None`)

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> sample = ColumnSample(store)
        >>> city = store.column_names.index('city of shops')
        >>> drawn = sample.draw(torch.tensor([city]), torch.tensor([0.5]))
        >>> drawn.known, drawn.string > 0
        (tensor([True]), tensor([True]))
    """

    def __init__(
        self,
        store: CellStore | TaskStore,
        size: int = 256,
        seed: int = 0,
        num_columns: int | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"'size' must be positive (got {size})")
        self.num_columns = num_columns or len(store.column_names)
        self.store = store.store if isinstance(store, TaskStore) else store
        self.size = size
        self.seed = seed
        self.hidden = np.ones(self.num_columns, dtype=bool)
        self.hidden[: len(self.store.column_names)] = (
            store.arrays.hidden if isinstance(store, TaskStore) else False
        )
        self._values: dict[int, NDArray[np.float64 | np.int64]] = {}

    def values(self, column: int) -> NDArray[np.float64 | np.int64]:
        r"""The values of one column: normalised numbers and booleans, unix seconds,
        or indices of strings.
        """
        if not 0 <= column < self.num_columns:
            raise ValueError(
                f"'column' must lie in [0, {self.num_columns}) (got {column})"
            )
        if column not in self._values:
            self._values[column] = self._sample(column)
        return self._values[column]

    def draw(self, column: Tensor, draw: Tensor) -> DrawnValues:
        r"""One value for each of some columns.

        Args:
            column (Tensor): :obj:`[M]` columns.
            draw (Tensor): :obj:`[M]` numbers in :math:`[0, 1)`.
        """
        columns, draws = column.cpu().numpy(), draw.double().cpu().numpy()
        known = np.zeros(len(columns), dtype=bool)
        value = np.zeros(len(columns))
        whole = np.zeros((2, len(columns)), dtype=np.int64)  # seconds, strings
        mean, std = self.store.arrays.datetime_scale
        for c in np.unique(columns):
            values = self.values(int(c))
            if values.size == 0:
                continue
            at = np.flatnonzero(columns == c)
            chosen = values[(draws[at] * values.size).astype(np.int64)]
            known[at] = True
            kind = self.store.arrays.column_kind[c]
            if kind == KIND_STRING:
                whole[1, at] = chosen
            elif kind == KIND_DATETIME:
                whole[0, at] = chosen
                value[at] = (chosen - mean) / std
            else:
                value[at] = chosen
        return DrawnValues(
            torch.from_numpy(known),
            torch.from_numpy(value.astype(np.float32)),
            *torch.from_numpy(whole),
        )

    def _sample(self, column: int) -> NDArray[np.float64 | np.int64]:
        if self.hidden[column]:
            return np.zeros(0)
        arrays = self.store.arrays
        table = table_of_column(self.store, column)
        first, last = arrays.table_start[table : table + 2]
        rng = np.random.default_rng((self.seed, column))
        # Enough of a large table for most columns; the rare ones are searched.
        rows = rng.integers(0, last - first, 4 * self.size)
        if last - first > rows.size:
            out = present_values(self.store, column, rows)
            if out.size >= self.size:
                return out[: self.size]
        out = present_values(self.store, column, np.arange(last - first))
        return out if out.size <= self.size else rng.choice(out, self.size, False)

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f'{name}({self.num_columns}, size={self.size})'
