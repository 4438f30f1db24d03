r"""Tables as they leave a graph or a data frame, before any statistics."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType

MISSING_TIME = np.iinfo(np.int64).min
r"""A datetime cell that is not there."""


@dataclass
class RawColumn:
    r"""A feature column.

    Args:
        cell_type: What its cells hold.
        values: :obj:`float64` with NaN for numbers and booleans (0 and 1),
            :obj:`int64` unix seconds for datetimes, :obj:`int32` codes into
            :obj:`vocabulary` with -1 for strings and embeddings.
        vocabulary: The strings, or a :obj:`[U, channels]` array of vectors.
    """

    cell_type: CellType
    values: NDArray[Any]
    vocabulary: Any = None


@dataclass
class RawTable:
    r"""A table: its columns, keys and times.

    Args:
        name: The node type.
        num_rows: Number of rows.
        time: :obj:`int64` unix seconds, or :obj:`None` without a time column.
        columns: Feature columns by name.
        parents: For each foreign key the parent table and the position of the
            parent row, -1 where there is none.
    """

    name: str
    num_rows: int
    time: NDArray[np.int64] | None = None
    columns: dict[str, RawColumn] = field(default_factory=dict)
    parents: dict[str, tuple[str, NDArray[np.int64]]] = field(default_factory=dict)
