from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.store_arrays import ALWAYS, NEVER

Array = NDArray[np.int64]
Floats = NDArray[np.float32]
FIGURES = 3
r"""Figures of a path: count, count in the window, and recency."""


class Pairs(NamedTuple):
    r"""What is known of pairs of a seed and a destination, of those alone that have
    met before.

    Args:
        seed: :obj:`[P]` position of the seed.
        destination: :obj:`[P]` row in the destination table.
        value: :obj:`[P, F]` the figures.
    """

    seed: Array
    destination: Array
    value: Floats


class _Path(NamedTuple):
    name: str
    source: Array | None  # [n] row in the entity table, by source and time
    target: Array  # [n] row in the destination table
    time: Array  # [n] when the whole path is known
    start: Array  # [sources + 1]
    by_target_time: Array  # [n] times by destination and time
    target_start: Array  # [destinations + 1]


class PairHistory:
    r"""How often and how recently an entity met each destination before a time, and
    how popular each destination was.

    A path leads from the entity to rows that point to it, and from these up to the
    destination over at most two foreign keys. It counts from when all its rows are
    known. Popularity counts rows that lead to a destination over the same keys,
    and those that point to it directly.

    Args:
        store (CellStore): The database.
        entity_table (str): The table of the entities.
        destination_table (str): The table of the destinations.
        window (int): Seconds of what counts as recent.
        strict (bool): Whether rows of exactly the time asked for are left out.
            (default: :obj:`False`)

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store().store
        >>> history = PairHistory(store, 'shops', 'customers', window=86_400)
        >>> history.popularity(2_000_000_000).shape
        (30, 3)
    """

    def __init__(
        self,
        store: CellStore,
        entity_table: str,
        destination_table: str,
        window: int,
        strict: bool = False,
    ) -> None:
        arrays = store.arrays
        self.window, self.strict = max(int(window), 1), int(strict)
        source = store.table_names.index(entity_table)
        target = store.table_names.index(destination_table)
        first = arrays.table_start
        self.num_sources = int(first[source + 1] - first[source])
        self.num_destinations = int(first[target + 1] - first[target])
        self.exists_from = arrays.row_time[first[target] : first[target + 1]]
        self.paths: list[_Path] = []
        for table in range(len(store.table_names)):
            rows = np.arange(first[table], first[table + 1], dtype=np.int64)
            if table in (source, target) or rows.size == 0:
                continue
            keys = range(arrays.fkey_start[table], arrays.fkey_start[table + 1])
            ups = [
                path
                for path in _ups(store, table, rows)
                if int(arrays.fkey_parent[path[0][-1]]) == target
            ]
            for fkeys, reached, time in ups:
                sources = [k for k in keys if arrays.fkey_parent[k] == source]
                for key in sources:
                    if key != fkeys[0]:
                        parents = _parents(store, key, rows)
                        name = [store.fkey_names[k] for k in (key, *fkeys)]
                        self._add(
                            ' -> '.join(name),
                            parents,
                            reached,
                            time,
                            first,
                            source,
                            target,
                        )
                if not sources and len(fkeys) == 1:
                    name = [store.fkey_names[fkeys[0]]]
                    self._add(name[0], None, reached, time, first, source, target)
        self.pair_paths = [path for path in self.paths if path.source is not None]

    def _add(
        self,
        name: str,
        parents: Array | None,
        reached: Array,
        time: Array,
        first: Array,
        source: int,
        target: int,
    ) -> None:
        known = (reached >= 0) & (time != NEVER)
        if parents is not None:
            known &= parents >= 0
        to = reached[known] - first[target]
        when = time[known]
        by_target = np.lexsort((when, to))
        start, whence = np.zeros(1, dtype=np.int64), None
        order = np.argsort(when, kind='stable')
        if parents is not None:
            whence = parents[known] - first[source]
            order = np.lexsort((when, whence))
            start = _starts(whence, self.num_sources)
            whence = whence[order]
        self.paths.append(
            _Path(
                name,
                whence,
                to[order],
                when[order],
                start,
                when[by_target],
                _starts(to, self.num_destinations),
            )
        )

    @property
    def num_pair_features(self) -> int:
        r"""Figures of a pair."""
        return FIGURES * len(self.pair_paths)

    @property
    def num_popularity_features(self) -> int:
        r"""Figures of a destination."""
        return FIGURES * len(self.paths)

    def pairs(self, entity: Array, until: Array) -> Pairs:
        r"""The pairs of seeds and destinations that met by then.

        Args:
            entity: :obj:`[B]` rows in the entity table.
            until: :obj:`[B]` unix seconds up to which each may look.
        """
        times = until - self.strict
        parts = []
        for number, path in enumerate(self.pair_paths):
            begin = path.start[entity]
            known = np.array(
                [
                    path.time[first:last].searchsorted(time, side='right')
                    for first, last, time in zip(begin, path.start[entity + 1], times)
                ],
                dtype=np.int64,
            )
            # Every row of the path that a seed knows, with its seed.
            seed = np.repeat(np.arange(len(entity)), known)
            rank = np.arange(seed.size) - np.repeat(known.cumsum() - known, known)
            row = begin[seed] + rank
            when = path.time[row]
            met, inverse = np.unique(
                seed * self.num_destinations + path.target[row], return_inverse=True
            )
            last_time = np.full(met.size, ALWAYS)
            np.maximum.at(last_time, inverse, when)
            total = np.bincount(inverse, minlength=met.size)
            recent = np.bincount(inverse, when > times[seed] - self.window, met.size)
            value = np.zeros((met.size, self.num_pair_features), dtype=np.float32)
            slot = slice(FIGURES * number, FIGURES * (number + 1))
            asked = times[met // self.num_destinations]
            value[:, slot] = self._figures(total, recent, last_time, asked)
            parts.append((met, value))
        if not parts:
            none = np.zeros(0, dtype=np.int64)
            return Pairs(none, none, np.zeros((0, 0), np.float32))
        key, inverse = np.unique(
            np.concatenate([met for met, _ in parts]), return_inverse=True
        )
        out = np.zeros((key.size, self.num_pair_features), dtype=np.float32)
        np.add.at(out, inverse, np.concatenate([value for _, value in parts]))
        return Pairs(key // self.num_destinations, key % self.num_destinations, out)

    def popularity(self, until: int) -> Floats:
        r"""Figures :obj:`[D, F]` of all destinations at a time."""
        time = until - self.strict
        out = np.zeros(
            (self.num_destinations, self.num_popularity_features), np.float32
        )
        for number, path in enumerate(self.paths):
            known = path.by_target_time <= time
            recent = known & (path.by_target_time > time - self.window)
            counts = [
                np.diff(np.concatenate([[0], np.cumsum(x)])[path.target_start])
                for x in (known, recent)
            ]
            place = path.target_start[:-1] + counts[0] - 1
            last = np.full(self.num_destinations, ALWAYS)
            has = counts[0] > 0
            last[has] = path.by_target_time[place[has]]
            slot = slice(FIGURES * number, FIGURES * (number + 1))
            out[:, slot] = self._figures(counts[0], counts[1], last, time)
        return out

    def _figures(
        self, count: Array, recent: Array, last: Array, time: int | Array
    ) -> Floats:
        # Of undated rows no time is known.
        wait = np.where(last == ALWAYS, np.inf, time - last.astype(np.float64))
        recency = 1.0 / (1.0 + np.maximum(wait, 0.0) / self.window)
        figures = [np.log1p(count), np.log1p(recent), recency]
        return np.stack(figures, axis=1).astype(np.float32)

    def __repr__(self) -> str:
        names = [path.name for path in self.paths]
        return f'{self.__class__.__name__}({names})'


def _ups(
    store: CellStore, table: int, rows: Array
) -> list[tuple[list[int], Array, Array]]:
    # All ways up over one or two foreign keys, and when they are known.
    arrays = store.arrays
    time = arrays.row_time[rows].astype(np.int64)
    out = []
    for key in range(arrays.fkey_start[table], arrays.fkey_start[table + 1]):
        reached = _parents(store, key, rows)
        known = _later(arrays.row_time, reached, time)
        out.append(([key], reached, known))
        parent = int(arrays.fkey_parent[key])
        for further in range(arrays.fkey_start[parent], arrays.fkey_start[parent + 1]):
            valid = reached >= 0
            higher = np.full(rows.size, -1, dtype=np.int64)
            higher[valid] = _parents(store, further, reached[valid])
            out.append(([key, further], higher, _later(arrays.row_time, higher, known)))
    return out


def _later(row_time: Array, rows: Array, time: Array) -> Array:
    return np.where(rows >= 0, np.maximum(row_time[np.maximum(rows, 0)], time), time)


def _parents(store: CellStore, key: int, rows: Array) -> Array:
    arrays = store.arrays
    table = int(arrays.fkey_child[key])
    width = int(arrays.fkey_start[table + 1] - arrays.fkey_start[table])
    place = arrays.parent_start[table] + (rows - arrays.table_start[table]) * width
    return arrays.parents[place + key - arrays.fkey_start[table]].astype(np.int64)


def _starts(group: Array, size: int) -> Array:
    out = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(group, minlength=size), out=out[1:])
    return out
