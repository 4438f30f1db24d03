r"""The arrays of a batch: their memory, their parts, and what users get of them."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.sampler.emission import number_strings
from torch_geometric_rfm.sampler.row_set import capacity_for


class Output(NamedTuple):
    r"""Flat arrays of a batch, filled up to :obj:`size`: cells, rows and links."""

    value: NDArray[np.float32]
    relative_time: NDArray[np.float32]
    string: NDArray[np.int64]
    cell_type: NDArray[np.int64]
    column: NDArray[np.int64]
    row: NDArray[np.int64]
    batch: NDArray[np.int64]
    row_time: NDArray[np.int64]
    row_table: NDArray[np.int64]
    row_index: NDArray[np.int64]
    child: NDArray[np.int64]
    parent: NDArray[np.int64]
    fkey_type: NDArray[np.int64]
    ptr: NDArray[np.int64]  # [contexts + 1] first cell
    row_ptr: NDArray[np.int64]  # [contexts + 1] first row
    size: NDArray[np.int64]  # cells, rows, links, contexts


PER_CELL, PER_ROW, PER_LINK = (
    Output._fields[:7],
    Output._fields[7:10],
    Output._fields[10:13],
)


class OutputLayout(NamedTuple):
    r"""How much memory contexts may take."""

    num_cells: int  # of a context, at most
    max_parents: int  # of a row

    def sizes(self, num_contexts: int) -> tuple[int, int, int]:
        r"""The most cells, rows and links of so many contexts."""
        cells = num_contexts * self.num_cells
        # Rows of a context: those visited, the labels and the seed.
        rows = num_contexts * (2 * self.num_cells + 1)
        return cells, rows, rows * max(1, self.max_parents)

    def new(self, num_contexts: int, scratch: dict[str, Any]) -> Output:
        r"""Memory for so many contexts, in part that of :obj:`scratch`.

        Cells are handed out as they are. Rows and links are fewer than they might
        be and are copied, so that their memory serves again.
        """
        cells, rows, links = self.sizes(num_contexts)
        floats = dict.fromkeys(('value', 'relative_time'), np.float32)
        arrays: dict[str, Any] = {
            name: np.empty(cells, dtype=floats.get(name, np.int64)) for name in PER_CELL
        }
        for names, size in ((PER_ROW, rows), (PER_LINK, links)):
            for name in names:
                if name not in scratch or len(scratch[name]) < size:
                    scratch[name] = np.empty(size, dtype=np.int64)
                arrays[name] = scratch[name][:size]
        return Output(**arrays, **_ends(num_contexts))

    def part(self, out: Output, first: int, last: int) -> Output:
        r"""The memory of the contexts from :obj:`first` to :obj:`last`."""
        bounds = zip(self.sizes(first), self.sizes(last))
        cells, rows, links = (slice(*pair) for pair in bounds)
        parts = {
            **dict.fromkeys(PER_CELL, cells),
            **dict.fromkeys(PER_ROW, rows),
            **dict.fromkeys(PER_LINK, links),
        }
        arrays = {name: getattr(out, name)[part] for name, part in parts.items()}
        return Output(**arrays, **_ends(last - first))


def _ends(num_contexts: int) -> dict[str, Any]:
    sizes = {'ptr': num_contexts + 1, 'row_ptr': num_contexts + 1, 'size': 4}
    return {name: np.zeros(size, dtype=np.int64) for name, size in sizes.items()}


def to_cells(out: Output) -> tuple[CellData, Tensor]:
    r"""The contexts without embeddings, and the strings they refer to."""
    num_cells, num_rows, num_links, _ = out.size.tolist()
    string = out.string[:num_cells]
    most = int(np.count_nonzero(string)) + 1
    keys = np.full(capacity_for(most), -1, dtype=np.int64)
    unique = np.zeros(most, dtype=np.int64)
    num_strings = number_strings(string, keys, np.empty_like(keys), unique)

    def tensor(array: NDArray[Any], size: int) -> Tensor:
        # Not a view of something larger, which would be saved along with it.
        whole = array.base is None and size == len(array)
        return torch.from_numpy(array if whole else array[:size].copy())

    cells = CellData(
        value=tensor(out.value, num_cells),
        relative_time=tensor(out.relative_time, num_cells),
        text_index=tensor(out.string, num_cells),
        cell_type=tensor(out.cell_type, num_cells),
        column=tensor(out.column, num_cells),
        row=tensor(out.row, num_cells),
        row_time=tensor(out.row_time, num_rows),
        row_table=tensor(out.row_table, num_rows),
        row_index=tensor(out.row_index, num_rows),
        fkey_index=torch.from_numpy(
            np.stack([out.child[:num_links], out.parent[:num_links]])
        ),
        fkey_type=tensor(out.fkey_type, num_links),
        seed_row=torch.from_numpy(out.row_ptr[:-1].copy()),
        mask=torch.from_numpy(np.zeros(num_cells, dtype=bool)),
        target=torch.from_numpy(np.full(num_cells, np.nan, dtype=np.float32)),
        batch=tensor(out.batch, num_cells),
        ptr=torch.from_numpy(out.ptr),
        num_nodes=num_cells,
    )
    return cells, torch.from_numpy(unique[:num_strings])
