from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data import CellStore, TextEncoder, to_hetero
from torch_geometric_rfm.datasets.generated_tasks import GeneratedTasks, generate_tasks
from torch_geometric_rfm.datasets.remembering_encoder import remembering_encoder
from torch_geometric_rfm.datasets.synthetic.calendar import Calendar
from torch_geometric_rfm.datasets.synthetic.draw_rows import draw_rows
from torch_geometric_rfm.datasets.synthetic.draw_schema import draw_schema
from torch_geometric_rfm.datasets.synthetic.draw_values import ValueDrawer
from torch_geometric_rfm.datasets.synthetic.names import Names
from torch_geometric_rfm.datasets.synthetic.schema_graph import SCHEMA_GRAPHS
from torch_geometric_rfm.datasets.synthetic.table import TableRows

if TYPE_CHECKING:
    from relbench.base import Database

Range = tuple[int, int]


class SyntheticRelationalDatabase:
    r"""A random relational database to pretrain on, with the properties of
    `"PluRel: Synthetic Data unlocks Scaling Laws for Relational Foundation Models"
    <https://arxiv.org/abs/2602.04029>`_.

    The schema is a directed acyclic graph of tables. Keys are clustered (a
    hierarchical stochastic block model) and heavy-tailed, some parents have no
    children and some keys are null. Every value follows from causes: the hidden
    state of its row, which follows from the state and the columns of the parents;
    other columns of the row; and time series with trend, season and events. The
    mechanisms are random trees, networks and linear maps. Values become numbers,
    counts, grades, booleans, categories, dates and text, some of them missing;
    some columns tell what happened before in the same history. Names of tables and
    columns say what they hold.

    It stands for a RelBench dataset wherever one is taken, and touches no disk.

    Args:
        seed (int): Seed of everything. (default: :obj:`0`)
        num_tables (int or (int, int)): Number of tables, or its range.
            (default: :obj:`(3, 20)`)
        num_rows (int or (int, int)): Rows of all tables together, about, or the
            range from which they are drawn, even on a logarithmic scale.
            (default: :obj:`(2000, 20000)`)
        num_columns ((int, int)): Range of the number of feature columns of a
            table. (default: :obj:`(3, 12)`)
        graph (str, optional): :obj:`"barabasi_albert"`,
            :obj:`"reverse_random_tree"`, :obj:`"watts_strogatz"` or
            :obj:`"layered"`; a random one if not given. (default: :obj:`None`)
        max_inactive (float): The largest share of parents without children over
            a foreign key. (default: :obj:`0.7`)
        max_null_share (float): The largest share of null keys of a foreign key.
            (default: :obj:`0.3`)
        max_missing (float): The largest share of missing values of a column.
            (default: :obj:`0.3`)

    Raises:
        ImportError: If RelBench is not installed.
        ValueError: If a range is empty or out of bounds, a share is not in
            :math:`[0, 1)`, or the graph is unknown.

    Example:
        >>> dataset = SyntheticRelationalDatabase(seed=1, num_tables=4, num_rows=2000)
        >>> dataset
        SyntheticRelationalDatabase(seed=1)
        >>> dataset.to_store('hashing').num_rows
        2000
    """

    def __init__(
        self,
        seed: int = 0,
        num_tables: int | Range = (3, 20),
        num_rows: int | Range = (2_000, 20_000),
        num_columns: Range = (3, 12),
        graph: str | None = None,
        max_inactive: float = 0.7,
        max_null_share: float = 0.3,
        max_missing: float = 0.3,
    ) -> None:
        shares = {
            'max_inactive': max_inactive,
            'max_null_share': max_null_share,
            'max_missing': max_missing,
        }
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f'{name} must be in [0, 1) (got {share})')
        if graph is not None and graph not in SCHEMA_GRAPHS:
            raise ValueError(
                f"graph must be one of {', '.join(SCHEMA_GRAPHS)} (got '{graph}')"
            )
        self.seed = seed
        self.num_tables = _checked_range('num_tables', num_tables, 3, 40)
        self.num_rows = _checked_range('num_rows', num_rows, 500, 10**8)
        self.num_columns = _checked_range('num_columns', num_columns, 1, 100)
        self.graph = graph
        self.shares = shares

    @cached_property
    def db(self) -> 'Database':
        r"""The tables, with keys :math:`0, \ldots, n - 1` in order of time."""
        try:
            from relbench.base import Database, Table
        except ImportError as error:
            raise ImportError(
                'RelBench is needed to hold databases: '
                'pip install "torch-geometric-rfm[relbench]"'
            ) from error
        calendar, names, tables = self._drawn
        out = {}
        for rows in tables:
            columns: dict[str, Any] = {'id': np.arange(rows.plan.num_rows)}
            for fkey, parent in rows.parents.items():
                columns[fkey] = pd.array(parent, dtype='Int64')
                columns[fkey][parent < 0] = pd.NA
            time_col = None
            if rows.time is not None:
                time_col = 'date' if calendar.whole_days else 'time'
                columns[time_col] = calendar.to_dates(rows.time)
            columns |= rows.columns
            fkeys = {
                fkey: tables[parent].plan.name
                for fkey, parent in rows.plan.parents.items()
            }
            out[rows.plan.name] = Table(pd.DataFrame(columns), fkeys, 'id', time_col)
        return Database(out)

    def make_db(self) -> 'Database':
        r"""The database, as a RelBench dataset gives it."""
        return self.db

    @cached_property
    def val_timestamp(self) -> pd.Timestamp:
        r"""The time before which seven tenths of the dated rows lie."""
        return self._quantile(0.7)

    @cached_property
    def test_timestamp(self) -> pd.Timestamp:
        r"""The time before which 85 of 100 dated rows lie."""
        return self._quantile(0.85)

    def to_store(self, text_encoder: TextEncoder | str | None = None) -> CellStore:
        r"""The database as a store; strings that other synthetic databases of this
        process had are not embedded again.

        Args:
            text_encoder (TextEncoder or str, optional): See
                :func:`~torch_geometric_rfm.data.get_text_encoder`.
                (default: :obj:`None`)
        """
        data, col_stats = to_hetero(self.db, cutoff=self.val_timestamp)
        return CellStore.from_hetero(
            data,
            col_stats,
            text_encoder=remembering_encoder(text_encoder),
            cutoff=self.val_timestamp,
            cache_dir=False,
        )

    def tasks(
        self, max_tasks: int | None = 16, max_rows: int = 5_000, horizons: Any = None
    ) -> GeneratedTasks:
        r"""Tasks on the database, see
        :func:`~torch_geometric_rfm.datasets.generate_tasks`.

        Args:
            max_tasks (int, optional): The most tasks. (default: :obj:`16`)
            max_rows (int): The most rows of a split. (default: :obj:`5000`)
            horizons (list, optional): Horizons of forecasts.
                (default: :obj:`None`)
        """
        return generate_tasks(
            self,
            seed=self.seed,
            max_tasks=max_tasks,
            max_rows=max_rows,
            horizons=horizons,
        )

    @cached_property
    def _drawn(self) -> tuple[Calendar, Names, list[TableRows]]:
        rng = np.random.default_rng(self.seed)
        num_tables = int(rng.integers(self.num_tables[0], self.num_tables[1] + 1))
        low, high = np.log(self.num_rows)
        num_rows = round(float(np.exp(rng.uniform(low, high))))
        graph = str(self.graph or rng.choice(list(SCHEMA_GRAPHS)))
        calendar, names = Calendar(rng), Names(rng)
        plans = draw_schema(rng, names, graph, num_tables, num_rows, self.num_columns)
        max_inactive, max_null_share, max_missing = self.shares.values()
        tables: list[TableRows] = []
        for plan in plans:
            rows = draw_rows(plan, tables, calendar, rng, max_inactive, max_null_share)
            ValueDrawer(rows, tables, calendar, names, rng, max_missing).draw()
            tables.append(rows)
        return calendar, names, tables

    def _quantile(self, share: float) -> pd.Timestamp:
        calendar, _, tables = self._drawn
        times = np.concatenate([t.time for t in tables if t.time is not None])
        at = np.quantile(times, share)
        return pd.Timestamp(calendar.to_dates(np.array([at]))[0])

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(seed={self.seed})'


def _checked_range(name: str, value: int | Range, least: int, most: int) -> Range:
    low, high = (value, value) if isinstance(value, int) else value
    if not least <= low <= high <= most:
        raise ValueError(
            f'{name} must be a number or a range within [{least}, {most}] (got {value})'
        )
    return low, high
