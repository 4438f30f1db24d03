from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_data import CellData

_TABLES = r"""
CREATE TEMP TABLE contexts (
    context BIGINT, seed_row BIGINT, seed_time BIGINT, visible_until BIGINT);
CREATE TEMP TABLE context_rows (
    row BIGINT, context BIGINT, tab BIGINT, idx BIGINT, time BIGINT, is_seed BOOLEAN);
CREATE TEMP TABLE cells (
    cell BIGINT, row BIGINT, col BIGINT, kind BIGINT, value DOUBLE,
    relative_time DOUBLE, text BIGINT, mask BOOLEAN, target DOUBLE);
CREATE TEMP TABLE links (child BIGINT, parent BIGINT, fkey BIGINT);
"""


class ContextTables:
    r"""Batches of contexts as DuckDB tables: contexts, rows, cells and links.

    Contexts, rows and cells are numbered through in the order in which they
    came; strings are numbered by their embedding.

    Args:
        connection (duckdb.DuckDBPyConnection): Where the tables are made.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.num_contexts = self.num_rows = self.num_cells = 0
        self.table_names: list[str] = []
        self.column_names: list[str] = []
        self.fkey_names: list[str] = []
        self._texts: dict[bytes, int] = {}
        connection.execute(_TABLES)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        r"""The embedding of each string :obj:`[texts, channels]`."""
        texts = [np.frombuffer(text, dtype=np.float32) for text in self._texts]
        return np.stack(texts) if texts else np.zeros((0, 0), dtype=np.float32)

    def add(self, cells: CellData) -> None:
        r"""Adds a batch.

        Raises:
            ValueError: If it has other tables, columns or foreign keys than
                the batches before.
        """
        for name in ('table_names', 'column_names', 'fkey_names'):
            if self.num_contexts == 0:
                setattr(self, name, list(cells[name]))
            elif getattr(self, name) != list(cells[name]):
                raise ValueError(
                    f'batches of one audit must be of one task: {name} differ from '
                    f'those of the batches before'
                )
        seed_row = _array(cells.seed_row)
        rows = np.arange(cells.num_rows)
        mask = _array(cells.mask)
        context = np.searchsorted(seed_row, rows, side='right') - 1
        self._insert(
            'contexts',
            self.num_contexts + np.arange(cells.num_contexts),
            self.num_rows + seed_row,
            _array(cells.seed_time),
            _array(cells.visible_until),
        )
        self._insert(
            'context_rows',
            self.num_rows + rows,
            self.num_contexts + context,
            _array(cells.row_table),
            _array(cells.row_index),
            _array(cells.row_time),
            np.isin(rows, seed_row),
        )
        self._insert(
            'cells',
            self.num_cells + np.arange(mask.size),
            self.num_rows + _array(cells.row),
            _array(cells.column),
            _array(cells.cell_type),
            _array(cells.value).astype(np.float64),
            _array(cells.relative_time).astype(np.float64),
            self._number_texts(cells),
            mask,
            _array(cells.target).astype(np.float64),
        )
        child, parent = _array(cells.fkey_index)
        self._insert(
            'links',
            self.num_rows + child,
            self.num_rows + parent,
            _array(cells.fkey_type),
        )
        self.num_contexts += cells.num_contexts
        self.num_rows += cells.num_rows
        self.num_cells += mask.size

    def _number_texts(self, cells: CellData) -> NDArray[np.int64]:
        shown = (_array(cells.cell_type) >= 3) & ~_array(cells.mask)
        used, inverse = np.unique(_array(cells.text_index)[shown], return_inverse=True)
        vectors = _array(cells.text_embedding).astype(np.float32)[used]
        number = np.array(
            [self._texts.setdefault(v.tobytes(), len(self._texts)) for v in vectors],
            dtype=np.int64,
        )
        out = np.full(shown.size, -1, dtype=np.int64)
        out[shown] = number[inverse.reshape(-1)]
        return out

    def _insert(self, table: str, *arrays: NDArray[Any]) -> None:
        import pyarrow as pa

        names = [f'c{i}' for i in range(len(arrays))]
        batch = pa.table([pa.array(array) for array in arrays], names=names)
        self.connection.register('batch', batch)
        self.connection.execute(f'INSERT INTO {table} SELECT * FROM batch')
        self.connection.unregister('batch')


def _array(tensor: Any) -> NDArray[Any]:
    return tensor.detach().cpu().numpy()
