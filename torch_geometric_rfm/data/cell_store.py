from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from torch_geometric_rfm.data.cell_arrays import build_cell_arrays
from torch_geometric_rfm.data.hetero_tables import read_tables
from torch_geometric_rfm.data.raw_table import RawTable
from torch_geometric_rfm.data.store_arrays import (
    StoreArrays,
    build_key_arrays,
    row_times,
)
from torch_geometric_rfm.data.store_file import (
    read_store_file,
    to_tensor,
    write_store_file,
)
from torch_geometric_rfm.data.text_cache import embed_strings
from torch_geometric_rfm.data.text_encoder import (
    TextEncoder,
    check_identity,
    get_text_encoder,
)
from torch_geometric_rfm.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from relbench.base import Database

    from torch_geometric_rfm.data.task import Task
    from torch_geometric_rfm.data.task_store import TaskStore


class CellStore:
    r"""A database as typed columns of cells, built once and shared by all tasks.

    Numbers are z-scored per column in float64 and kept as float32, datetimes
    are unix seconds, strings indices into one table of unique embeddings.
    Children of a row are sorted by time, so that what was known at a time is a
    prefix. Build it with :meth:`from_hetero`; :meth:`save` and :meth:`load` keep
    it on disk, where processes may share it.

    Attributes:
        table_names (list): Node types, link tables last.
        column_names (list): :obj:`"<column> of <table>"`, by table.
        fkey_names (list): :obj:`"<table>.<foreign key>"`, by table.
        text_embedding (Tensor): :obj:`[U, text_channels]` of unique strings.
        column_embedding (Tensor): :obj:`[C, text_channels]` of the phrases.
        cutoff (int, optional): Statistics count rows up to this unix time.
        column_quantiles (Tensor, optional): What
            :func:`~torch_geometric_rfm.data.column_quantiles` once found.
    """

    def __init__(
        self,
        table_names: list[str],
        column_names: list[str],
        fkey_names: list[str],
        arrays: StoreArrays,
        text_embedding: Tensor,
        column_embedding: Tensor,
        text_encoder: TextEncoder,
        cutoff: int | None = None,
        cache_dir: Any = None,
    ) -> None:
        self.table_names = table_names
        self.column_names = column_names
        self.fkey_names = fkey_names
        self.arrays = arrays
        self.text_embedding = text_embedding
        self.column_embedding = column_embedding
        self.text_encoder = text_encoder
        self.cutoff = cutoff
        self.cache_dir = cache_dir
        self.column_quantiles: Tensor | None = None

    @classmethod
    def from_tables(
        cls,
        tables: list[RawTable],
        text_encoder: TextEncoder,
        cutoff: int | None = None,
        cache_dir: Any = None,
    ) -> 'CellStore':
        r"""Builds the store of clean tables; see :meth:`from_hetero`."""
        column_names = [
            f'{column} of {table.name}'
            for table in tables
            for column in sorted(table.columns)
        ]
        num_rows = np.array([table.num_rows for table in tables], dtype=np.int64)
        table_start = np.concatenate([[0], np.cumsum(num_rows)])
        row_time = row_times(tables)
        vocabulary = Vocabulary()
        arrays = StoreArrays(
            table_start=table_start,
            row_time=row_time,
            **build_key_arrays(tables, table_start, row_time),
            **build_cell_arrays(tables, cutoff, vocabulary),
        )

        def embed(strings: list[str]) -> Tensor:
            return embed_strings(strings, text_encoder, cache_dir=cache_dir)

        return cls(
            table_names=[table.name for table in tables],
            column_names=column_names,
            fkey_names=[f'{t.name}.{fkey}' for t in tables for fkey in t.parents],
            arrays=arrays,
            text_embedding=vocabulary.embed(embed, text_encoder.channels),
            column_embedding=embed(column_names),
            text_encoder=text_encoder,
            cutoff=cutoff,
            cache_dir=cache_dir,
        )

    @classmethod
    def from_hetero(
        cls,
        data: HeteroData,
        col_stats: dict[str, dict[str, Any]] | None = None,
        *,
        db: 'Database | None' = None,
        text_encoder: TextEncoder | str | None = None,
        cutoff: Any = None,
        cell_types: dict[str, dict[str, str]] | None = None,
        time_attr: str = 'time',
        cache_dir: Any = None,
    ) -> 'CellStore':
        r"""Builds the store of a heterogeneous graph.

        Takes graphs of :func:`~torch_geometric_rfm.data.to_hetero`, of
        :func:`relbench.modeling.graph.make_pkey_fkey_graph`, and ordinary ones:
        features :obj:`x` become number columns (:obj:`feature_names` or
        :obj:`x_0`, ...), edge types that give a node more than one target, or
        that carry :obj:`edge_attr`, become link tables with two keys.

        Args:
            data (HeteroData): The graph.
            col_stats (dict, optional): The column statistics that came with
                it; they hold the strings of categorical columns.
                (default: :obj:`None`)
            db (relbench.base.Database, optional): The database of the graph,
                to restore strings and nulls that Frame's text embedding does
                not keep. (default: :obj:`None`)
            text_encoder (TextEncoder or str, optional): See
                :func:`~torch_geometric_rfm.data.get_text_encoder`.
                (default: :obj:`None`)
            cutoff (pd.Timestamp, optional): Statistics count only rows up to
                this time, and all rows of undated tables. :obj:`None` counts
                all rows, which lets the future into the statistics of a
                temporal task. (default: :obj:`None`)
            cell_types (dict, optional): For a table and string column
                :obj:`"category"` or :obj:`"text"`. (default: :obj:`None`)
            time_attr (str): Attribute with the unix seconds of the rows.
                (default: :obj:`"time"`)
            cache_dir (str, optional): Where embeddings are cached;
                :obj:`False` for nowhere. (default: :obj:`None`)

        Raises:
            ValueError: If a node type is empty, or a column cannot be
                tokenised.

        Example:
            >>> from torch_geometric_rfm.data import to_hetero
            >>> from torch_geometric_rfm.testing import toy_database
            >>> data, col_stats = to_hetero(toy_database())
            >>> CellStore.from_hetero(data, col_stats, text_encoder='hashing')
            CellStore(tables=3, rows=234, columns=10, fkeys=2, strings=76)
        """
        encoder = get_text_encoder(text_encoder)
        seconds = None if cutoff is None else int(pd.Timestamp(cutoff).timestamp())
        tables = read_tables(data, col_stats, db, cell_types, time_attr)
        return cls.from_tables(tables, encoder, seconds, cache_dir)

    def save(self, path: str | Path) -> None:
        r"""Writes the store to one file, whole or not at all.

        Args:
            path (str): The file; a store that stands there is replaced.

        Raises:
            FileExistsError: If another kind of file stands there.
            OSError: If the file cannot be written; an earlier store stays.
        """
        settings = {
            'table_names': self.table_names,
            'column_names': self.column_names,
            'fkey_names': self.fkey_names,
            'cutoff': self.cutoff,
            'text_encoder': self.text_encoder.identity(),
        }
        tensors = {name: to_tensor(a) for name, a in self.arrays._asdict().items()}
        tensors['text_embedding'] = self.text_embedding
        tensors['column_embedding'] = self.column_embedding
        write_store_file(path, tensors, settings)

    @classmethod
    def load(
        cls,
        path: str | Path,
        mmap: bool = True,
        text_encoder: TextEncoder | str | None = None,
        verify: bool = True,
        cache_dir: Any = None,
    ) -> 'CellStore':
        r"""Reads a store that was saved.

        Args:
            path (str): The file.
            mmap (bool): Whether to map the file rather than to read it, so
                that processes share its pages. The file may be replaced
                meanwhile, by :meth:`save`, but not be edited.
                (default: :obj:`True`)
            text_encoder (TextEncoder or str, optional): The encoder that the
                store was built with; by its name if not given.
                (default: :obj:`None`)
            verify (bool): Whether to compare checksums, which reads the file
                once. (default: :obj:`True`)
            cache_dir (str, optional): Where embeddings of the phrases of tasks
                are cached. (default: :obj:`None`)

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no store, of another format, damaged, or was
                built with another text encoder.

        Example:
            >>> import tempfile
            >>> from torch_geometric_rfm.testing import toy_task_store
            >>> store = toy_task_store().store
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     store.save(f'{folder}/toy.store')
            ...     loaded = CellStore.load(f'{folder}/toy.store', mmap=False)
            >>> loaded.num_rows == store.num_rows
            True
        """
        tensors, settings = read_store_file(path, mmap, verify)
        identity = settings.pop('text_encoder')
        encoder = get_text_encoder(text_encoder or identity['name'])
        check_identity(encoder, identity)
        embeddings = [
            tensors.pop(name) for name in ('text_embedding', 'column_embedding')
        ]
        arrays = StoreArrays(**{name: t.numpy() for name, t in tensors.items()})
        return cls(
            **settings,
            arrays=arrays,
            text_embedding=embeddings[0],
            column_embedding=embeddings[1],
            text_encoder=encoder,
            cache_dir=cache_dir,
        )

    def with_task(self, task: 'Task') -> 'TaskStore':
        r"""Lays a task over the store: its table of labels, and the columns that
        it may not see. The store itself is shared and unchanged.
        """
        from torch_geometric_rfm.data.task_store import TaskStore

        return TaskStore(self, task)

    @property
    def num_rows(self) -> int:
        r"""Rows of all tables."""
        return int(self.arrays.table_start[-1])

    @property
    def text_channels(self) -> int:
        r"""Width of the text embeddings."""
        return self.text_encoder.channels

    def embed(self, strings: list[str]) -> Tensor:
        r"""Embeddings :obj:`[len(strings), text_channels]`, cached on disk."""
        return embed_strings(strings, self.text_encoder, cache_dir=self.cache_dir)

    def embed_numbers(self, strings: NDArray[np.int64]) -> Tensor:
        r"""Embeddings :obj:`[len(strings), text_channels]` of strings by their
        numbers.
        """
        # Not with torch, whose threads would wait for work at the cost of others.
        return torch.from_numpy(self.text_embedding.numpy().take(strings, axis=0))

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(tables={len(self.table_names)}, '
            f'rows={self.num_rows}, columns={len(self.column_names)}, '
            f'fkeys={len(self.fkey_names)}, strings={len(self.text_embedding) - 1})'
        )
