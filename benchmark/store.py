r"""How fast stores are built, saved and mapped, and what memory they take.

    python benchmark/store.py --json store.json

On the shop database of ``synthetic.py``, whose rows lie in no order of time.
``index`` is the part that sorts children by time, ``workers`` compares the resident
memory of two loader workers together, shared pages counted once, with that of one.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from synthetic import VAL, make_database, make_task

from torch_geometric_rfm.data import CellStore, to_hetero
from torch_geometric_rfm.data.hetero_tables import read_tables
from torch_geometric_rfm.data.store_arrays import build_key_arrays, row_times
from torch_geometric_rfm.loader import ContextLoader

STRUCTURE = ('row_time', 'parents', 'child_ptr', 'child_row')
VALUES = ('numbers', 'datetimes', 'strings')


def timed(function, *args, **kwargs):
    start = time.perf_counter()
    out = function(*args, **kwargs)
    return out, time.perf_counter() - start


def memory(process):
    r"""Resident and private bytes of a process."""
    values = {}
    for line in Path(f'/proc/{process}/smaps_rollup').read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        values[name.rstrip(':')] = int(amount) * 1024
    return values['Rss'], values['Private_Clean'] + values['Private_Dirty']


def worker_memory(store, num_workers, num_batches):
    loader = ContextLoader(
        store, num_cells=1024, shuffle=True, num_workers=num_workers, batch_size=64
    )
    batches = iter(loader)
    for _ in range(num_batches):
        next(batches)
    workers = [child.pid for child in multiprocessing.active_children()]
    assert len(workers) == num_workers
    return [memory(worker) for worker in workers]


def measure(num_rows, num_batches):
    db, generate = timed(make_database, num_rows)
    (data, col_stats), to_graph = timed(to_hetero, db, cutoff=VAL)
    tables = read_tables(data, col_stats, None, None, 'time')
    store, build = timed(
        CellStore.from_hetero,
        data,
        col_stats,
        text_encoder='hashing',
        cutoff=VAL,
        cache_dir=False,
    )
    task = make_task(db)
    del data, db
    starts = store.arrays.table_start
    _, index = timed(build_key_arrays, tables, starts, row_times(tables))
    arrays = store.arrays._asdict()
    structure = sum(arrays[name].nbytes for name in STRUCTURE)
    values = sum(arrays[name].nbytes for name in VALUES)
    slots = sum(arrays[name].size for name in VALUES)
    rows = store.num_rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'shop.store'
        _, save = timed(store.save, path)
        size = path.stat().st_size
        del store, tables, arrays
        loaded, load = timed(CellStore.load, path)
        _, load_unverified = timed(CellStore.load, path, verify=False)
        mapped = loaded.with_task(task)
        ((one, _),) = worker_memory(mapped, 1, num_batches)
        first, second = worker_memory(mapped, 2, num_batches)
    return {
        'rows': rows,
        'generate_seconds': generate,
        'to_hetero_rows_per_second': rows / to_graph,
        'build_rows_per_second': rows / build,
        'index_rows_per_second': rows / index,
        'structure_bytes_per_row': structure / rows,
        'value_bytes_per_slot': values / slots,
        'file_megabytes': size / 1e6,
        'save_seconds': save,
        'load_seconds': load,
        'load_unverified_seconds': load_unverified,
        'worker_megabytes': one / 1e6,
        'two_workers_megabytes': (first[0] + second[1]) / 1e6,
        'two_workers_over_one': (first[0] + second[1]) / one,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, nargs='+')
    parser.add_argument('--batches', type=int, default=100)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    sizes = args.rows or [100_000, 1_000_000, 10_000_000]
    if args.quick:
        sizes, args.batches = [20_000, 100_000], 10
    # The first build compiles.
    measure(10_000, 2)
    results = [measure(size, args.batches) for size in sizes]
    table = Table(title='stores of the shop database')
    table.add_column('')
    for result in results:
        table.add_column(f'{result["rows"]:,} rows', justify='right')
    for key in results[0]:
        if key != 'rows':
            figures = (f'{result[key]:,.2f}' for result in results)
            table.add_row(key.replace('_', ' '), *figures)
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


if __name__ == '__main__':
    main()
