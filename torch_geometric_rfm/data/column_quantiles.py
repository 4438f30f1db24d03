import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.column_values import present_values, table_of_column
from torch_geometric_rfm.data.store_arrays import KIND_NUMBER
from torch_geometric_rfm.data.task_store import TaskStore

NUM_BINS = 32
_MAX_VALUES, _MIN_VALUES = 8192, 1024


def quantiles_of(values: NDArray[np.float64]) -> NDArray[np.float32]:
    r"""The edges :obj:`[33]` of 32 bins of equal shares of some values, those of
    the normal distribution (at :math:`(k + 1/2) / 33`) where none is finite.
    """
    values = values[np.isfinite(values)]
    if values.size == 0:
        middle = (torch.arange(NUM_BINS + 1).double() + 0.5) / (NUM_BINS + 1)
        return torch.special.ndtri(middle).float().numpy()
    levels = np.linspace(0.0, 1.0, NUM_BINS + 1)
    return np.quantile(values, levels).astype(np.float32)


def column_quantiles(store: CellStore | TaskStore) -> Tensor:
    r"""Edges of bins of equal shares for every number column, in normalised values.

    They come from rows up to the cutoff of the store (at most 8,192 of them, drawn
    at random, always the same ones) and from undated tables, those of a label from
    train rows. Columns of other types, and those without values, have the edges of
    the normal distribution.

    Args:
        store (CellStore or TaskStore): The database, with or without a task.

    Returns:
        Tensor: Edges :obj:`[columns, 33]`, in rising order.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store('regression')
        >>> edges = column_quantiles(store)
        >>> edges.size(0) == len(store.column_names), edges.size(1)
        (True, 33)
    """
    database = store.store if isinstance(store, TaskStore) else store
    if database.column_quantiles is None:
        edges = [_edges(database, c) for c in range(len(database.column_names))]
        stacked = np.array(edges, dtype=np.float32).reshape(-1, NUM_BINS + 1)
        database.column_quantiles = torch.from_numpy(stacked)
    if not isinstance(store, TaskStore):
        return database.column_quantiles
    label = np.zeros(0)
    if store.arrays.label_type == KIND_NUMBER:
        label = store.arrays.value[store.split == 'train'].astype(np.float64)
    added = [quantiles_of(label), quantiles_of(np.zeros(0))]
    return torch.cat([database.column_quantiles, torch.from_numpy(np.array(added))])


def _edges(store: CellStore, column: int) -> NDArray[np.float32]:
    if store.arrays.column_kind[column] != KIND_NUMBER:
        return quantiles_of(np.zeros(0))
    first, last = store.arrays.table_start[table_of_column(store, column) :][:2]
    rows = np.arange(last - first)
    if rows.size > _MAX_VALUES:
        rows = np.random.default_rng(column).integers(0, rows.size, _MAX_VALUES)
    values = present_values(store, column, rows)
    if (
        values.size < _MIN_VALUES and last - first > _MAX_VALUES
    ):  # Rare, or mostly after the cutoff.
        values = present_values(store, column, np.arange(last - first))
    return quantiles_of(values.astype(np.float64))
