r"""How fast stores are built, contexts loaded, and models trained on them.

    python benchmark/loader.py --json loader.json

Medians of interleaved repetitions; nothing else should run meanwhile.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from torch_geometric_rfm.data import (
    CellStore,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'


def load_rate(store, num_cells: int, num_workers: int, num_batches: int) -> float:
    loader = ContextLoader(
        store,
        num_cells=num_cells,
        num_neighbors=8,
        batch_size=32,
        shuffle=True,
        num_workers=num_workers,
    )
    batches = iter(loader)
    next(batches)
    start, contexts = time.perf_counter(), 0
    for cells, _ in zip(batches, range(num_batches)):
        contexts += cells.num_contexts
    return contexts / (time.perf_counter() - start)


def train_rate(store, num_cells: int, num_batches: int) -> float:
    model, loss_fn = RelationalTransformer.small(), MaskedCellLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = ContextLoader(store, num_cells=num_cells, num_neighbors=8, shuffle=True)
    contexts, start = 0, 0.0
    for i, cells in enumerate(loader):
        if i == 2:  # The first steps warm up.
            start = time.perf_counter()
        loss_fn(model(cells), cells).backward()
        optimizer.step()
        optimizer.zero_grad()
        contexts += cells.num_contexts if i >= 2 else 0
        if i == num_batches + 1:
            break
    return contexts / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--db', default=str(REL_F1))
    parser.add_argument('--task', default='driver-dnf')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--text-encoder', default='hashing')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    repeats, batches = (1, 10) if args.quick else (args.repeats, 100)

    dataset = load_dataset(args.db)
    db = load_database(dataset)
    build = []
    for _ in range(repeats):
        start = time.perf_counter()
        data, col_stats = to_hetero(db, cutoff=dataset.val_timestamp)
        middle = time.perf_counter()
        base = CellStore.from_hetero(
            data,
            col_stats,
            text_encoder=args.text_encoder,
            cutoff=dataset.val_timestamp,
        )
        build.append((middle - start, time.perf_counter() - middle))
    store = base.with_task(Task.from_relbench(load_task(dataset, args.task), db))
    rows = base.num_rows
    figures = {
        'rows': rows,
        'to_hetero_rows_per_second': rows / statistics.median(b[0] for b in build),
        'store_rows_per_second': rows / statistics.median(b[1] for b in build),
        'threads': torch.get_num_threads(),
    }
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):
        for num_cells in (128, 256, 1024):
            for workers in (0, 2):
                key = f'load_{num_cells}_cells_{workers}_workers'
                rate = load_rate(store, num_cells, workers, batches)
                rates.setdefault(key, []).append(rate)
        for num_cells in (128, 256):
            key = f'train_{num_cells}_cells'
            rate = train_rate(store, num_cells, max(5, batches // 10))
            rates.setdefault(key, []).append(rate)
    figures |= {key: statistics.median(values) for key, values in rates.items()}
    table = Table(title=f'{args.db}, {args.task}')
    table.add_column('figure')
    table.add_column('median', justify='right')
    for key, value in figures.items():
        unit = ' contexts/s' if key.startswith(('load', 'train')) else ''
        table.add_row(key.replace('_', ' '), f'{value:,.0f}{unit}')
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2))


if __name__ == '__main__':
    main()
