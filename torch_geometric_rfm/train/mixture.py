import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.transforms import Compose

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.prepared_database import (
    PreparedDatabase,
    prepare_database,
)
from torch_geometric_rfm.data.store_arrays import NEVER
from torch_geometric_rfm.data.text_encoder import TextEncoder, check_identity
from torch_geometric_rfm.datasets import SyntheticRelationalDatabase, generate_tasks
from torch_geometric_rfm.datasets.task_maker import GENERATOR_VERSION
from torch_geometric_rfm.loader.mixture_loader import MixturePart
from torch_geometric_rfm.train.pretrain_config import PretrainConfig
from torch_geometric_rfm.transforms import DropCells, MaskCells


def expand_sources(sources: Sequence[Any]) -> list[Any]:
    r"""Sources with :obj:`"synthetic:A-B"`, or :obj:`"synthetic:A"`, replaced by the
    synthetic databases of these seeds.

    Raises:
        ValueError: If the seeds cannot be read.

    Example:
        >>> expand_sources(['data/rel-f1', 'synthetic:3'])
        ['data/rel-f1', SyntheticRelationalDatabase(seed=3)]
    """
    out: list[Any] = []
    for source in sources:
        if not isinstance(source, str) or not source.startswith('synthetic:'):
            out.append(source)
            continue
        seeds = re.fullmatch(r'synthetic:(\d+)(?:-(\d+))?', source)
        first, last = (int(seeds[1]), int(seeds[2] or seeds[1])) if seeds else (0, -1)
        if last < first:
            raise ValueError(
                f"'{source}' names no synthetic databases. Write synthetic:SEED, or "
                'synthetic:FIRST-LAST'
            )
        out += [SyntheticRelationalDatabase(seed) for seed in range(first, last + 1)]
    return out


def open_databases(
    sources: Sequence[Any],
    text_encoder: TextEncoder,
    skip_errors: bool = False,
    cache_dir: Any = None,
    generated_tasks: int = 0,
    seed: int = 0,
) -> list[PreparedDatabase]:
    r"""Prepares databases one after the other.

    Args:
        sources: See :func:`~torch_geometric_rfm.data.prepare_database` and
            :func:`expand_sources`.
        text_encoder: The encoder that all of them must share.
        skip_errors: Whether a database that fails is left out, with a warning.
        cache_dir: See :func:`~torch_geometric_rfm.data.prepare_database`.
        generated_tasks: Tasks that are generated for each, at most; prepared folders
            have theirs already.
        seed: Seed of the generated ones.

    Raises:
        ValueError: If a database fails, which is named, or two share a name.
    """
    out: list[PreparedDatabase] = []
    for source in expand_sources(sources):
        try:
            database = prepare_database(
                source,
                text_encoder,
                cache_dir,
                *_generator(generated_tasks, seed),
            )
            if database.store.text_encoder is not text_encoder:
                check_identity(database.store.text_encoder, text_encoder.identity())
        except Exception as error:
            if not skip_errors:
                raise ValueError(
                    f"database '{source}' cannot be used: {error} Mend it, or leave it "
                    f'out (--skip-errors).'
                ) from error
            warnings.warn(
                f"database '{source}' is left out: {error}", UserWarning, stacklevel=2
            )
            continue
        out.append(database)
    names = [database.name for database in out]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(
            f'databases of a mixture need names of their own (got {double})'
        )
    return out


def _generator(max_tasks: int, seed: int) -> tuple[Any, str]:
    if not max_tasks:
        return None, ''

    def generate(dataset: Any) -> Sequence[Any]:
        return generate_tasks(dataset, seed=seed, max_tasks=max_tasks)

    version = f'generate_tasks {GENERATOR_VERSION}'
    return generate, f'{version}, seed={seed}, max_tasks={max_tasks}'


def make_parts(
    databases: Sequence[PreparedDatabase], config: PretrainConfig
) -> list[MixturePart]:
    r"""What is mixed: the train rows of each task, and of databases whose labels are
    not used the rows of each table.

    Raises:
        ValueError: If there is nothing to train on, or a name is unknown.
    """
    known = [database.name for database in databases]
    unknown = sorted(set(config.unlabelled) - set(known))
    if unknown:
        raise ValueError(
            f"'unlabelled' names databases that are not in the mixture (got {unknown}, "
            f'these are: {", ".join(known)})'
        )
    parts = []
    for database in databases:
        if database.name in config.unlabelled:
            parts += _table_parts(database, config)
            continue
        transform: Any = _masking(config, config.masking)
        if config.drop_rate:
            drop = DropCells.up_to(config.drop_rate, config.seed)
            transform = Compose([drop, transform])
        parts += [
            MixturePart(
                database.name,
                store,
                _labelled_rows(store),
                None,
                transform,
                weight=1.0 if store.task.horizon.value else config.autocomplete_weight,
            )
            for store in database.task_stores()
        ]
    if not parts:
        reasons = [
            f"task '{task}' of '{database.name}': {reason}"
            for database in databases
            for task, reason in database.skipped.items()
        ]
        raise ValueError(
            f'there are no tasks to train on in {known}'
            + (f': {"; ".join(reasons)}' if reasons else '')
        )
    return parts


def _labelled_rows(store: Any) -> np.ndarray:
    rows = store.rows_of_split('train')
    return rows[~np.isnan(store.arrays.value[rows])]


def _masking(
    config: PretrainConfig,
    strategies: dict[str, float],
    columns: list[str] | None = None,
) -> MaskCells:
    return MaskCells(
        strategies,
        rate=config.mask_rate,
        seed=config.seed,
        corruption=config.corruption,
        cell_types=config.mask_cell_types,
        columns=columns,
    )


def _table_parts(
    database: PreparedDatabase, config: PretrainConfig
) -> list[MixturePart]:
    # Rows up to the cutoff, each at its own time; what tasks ask for is never asked.
    store = database.store
    strategies = {k: v for k, v in config.masking.items() if k != 'target'}
    asked = {pair for task in database.tasks for pair in task.hidden_columns}
    asked |= {(task.entity_table, task.target_col) for task in database.tasks}
    secret = {f'{column} of {table}' for table, column in asked}
    columns = [name for name in store.column_names if name not in secret]
    if not strategies:
        raise ValueError(
            f"database '{database.name}' is trained on without labels, which needs "
            f"another strategy than 'target' in 'masking' (got {config.masking})"
        )
    transform = _masking(config, strategies, columns)
    parts = []
    for number, table in enumerate(store.table_names):
        first, last = store.arrays.table_start[number : number + 2]
        rows, time = _known_rows(store, int(first), int(last))
        width = int(np.diff(store.arrays.column_start[number : number + 2])[0])
        if rows.size and 0 < width <= min(config.num_cells):
            part = MixturePart(
                database.name,
                store,
                (table, rows),
                torch.from_numpy(time),
                transform,
                name=table,
            )
            parts.append(part)
    return parts


def _known_rows(
    store: CellStore, first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    time = store.arrays.row_time[first:last]
    dated = (time > np.iinfo(np.int64).min) & (time < NEVER)
    all_times = store.arrays.row_time
    latest = all_times[all_times < NEVER].max(initial=0)
    end = latest if store.cutoff is None else store.cutoff
    rows = np.flatnonzero(np.where(dated, time <= end, time < NEVER))
    return rows, np.where(dated, time, end)[rows].astype(np.int64)
