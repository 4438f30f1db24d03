import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.audit.auditor import ContextAuditor
from torch_geometric_rfm.audit.raw_tables import RawTables, connect
from torch_geometric_rfm.audit.report import AuditReport
from torch_geometric_rfm.data import TaskStore, load_database, load_dataset, load_task
from torch_geometric_rfm.data.task import SPLITS
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.predictor import RelationalPredictor


def audit_task(
    db: Any,
    task: Any,
    contexts: int = 1000,
    protocol: str = 'rolling',
    *,
    horizon: Any = None,
    text_encoder: Any = 'hashing',
    seed: int = 0,
    predictor: RelationalPredictor | None = None,
    raw: RawTables | None = None,
    progress: Callable[[Any], Iterable[Any]] | None = None,
) -> AuditReport:
    r"""Draws contexts of a task as training does, and checks them by SQL.

    Seeds are spread evenly over train, val and test, and drawn without
    replacement; a small split gives what it has. The raw tables are read from
    the database once more, aside from the store.

    Args:
        db (str, Path or relbench.base.Dataset): The database.
        task (str, relbench.base.BaseTask or Task): The task.
        contexts (int): Number of contexts. (default: :obj:`1000`)
        protocol (str): :obj:`"rolling"` or :obj:`"frozen"`.
            (default: :obj:`"rolling"`)
        horizon (str, optional): For external tasks, when labels become known.
            (default: :obj:`None`)
        text_encoder (TextEncoder or str): The encoder of the store; strings
            are compared by what it makes of them. (default: :obj:`"hashing"`)
        seed (int): Seed of the draw. (default: :obj:`0`)
        predictor (RelationalPredictor, optional): One whose stores, sampling
            and text encoder are taken instead. (default: :obj:`None`)
        raw (RawTables, optional): The raw tables, if there already.
            (default: :obj:`None`)
        progress (callable, optional): Wraps the batches.
            (default: :obj:`None`)

    Raises:
        ImportError: If DuckDB is not installed.
        ValueError: If :obj:`contexts` is not positive, or the task or the
            protocol is unknown or not supported.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database, toy_task
        >>> audit_task(toy_database(), toy_task(), contexts=30)
        AuditReport('customer-orders', protocol=rolling, contexts=30, findings=0)
    """
    start = time.monotonic()
    if contexts < 1:
        raise ValueError(f'contexts must be positive (got {contexts})')
    if raw is None:
        connect()  # Without DuckDB there is no point in building a store.
    predictor = predictor or RelationalPredictor(text_encoder=text_encoder)
    store = predictor.open_task(db, task, horizon)
    dataset = load_dataset(db)
    auditor = ContextAuditor(
        RawTables(load_database(dataset)) if raw is None else raw,
        load_task(dataset, task) if isinstance(task, str) else task,
        protocol,
        strict=predictor.sampling['strict'],
        horizon=horizon,
        text_encoder=predictor.text_encoder,
    )
    loader = ContextLoader(
        store,
        input_nodes=draw_rows(store, contexts, seed),
        protocol=protocol,
        seed=seed,
        **predictor.sampling,
    )
    batches: Iterable[Any] = loader if progress is None else progress(loader)
    for cells in batches:
        auditor.add(cells)
    report = auditor.report()
    name = str(db) if isinstance(db, (str, Path)) else type(db).__name__
    seconds = time.monotonic() - start
    return replace(report, database=name, seed=seed, seconds=seconds)


def draw_rows(store: TaskStore, count: int, seed: int) -> NDArray[np.int64]:
    r"""Rows of the task table, spread evenly over the splits, in order."""
    rng = np.random.default_rng(seed)
    splits = [store.rows_of_split(name) for name in SPLITS if name in set(store.split)]
    drawn = []
    # The smallest first: what it lacks is left to the others.
    for left, rows in zip(
        range(len(splits), 0, -1), sorted(splits, key=len), strict=True
    ):
        share = min(len(rows), -(-count // left))
        drawn.append(rng.choice(rows, share, replace=False))
        count -= share
    return np.sort(np.concatenate(drawn))
