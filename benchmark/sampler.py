r"""Contexts per second of the sampler, beside other ways to draw them.

    python benchmark/sampler.py --json sampler.json --plot sampler.png

Contexts of 1024 cells and width 128 on the shop database of ``synthetic.py``, in one
process, interleaved, medians. ``ours`` and ``ours, last`` go the whole way to
CellData without embeddings; the rivals of ``rival_kernels.py`` stop at the arrays.
With ``--official PYTHON``, an environment made as ``official_sampler.py`` says, the
official engine draws from the database of a million rows, and from rel-f1.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rival_kernels import rival_batch
from synthetic import make_database, make_store, make_task, write_parquet

from torch_geometric_rfm.data import CellStore, Task, load_dataset, load_task, to_hetero
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.sampler import ContextSampler, LocalNeighborhood
from torch_geometric_rfm.sampler.kernels import new_frontier

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'
OFFICIAL = Path(__file__).parent / 'official_sampler.py'
NUM_CELLS, WIDTH, BATCH = 1024, 128, 256


class Ours:
    def __init__(self, store, strategy='uniform', num_threads=1):
        policies = [LocalNeighborhood(WIDTH, strategy)]
        self.sampler = ContextSampler(
            store, policies, NUM_CELLS, num_threads=num_threads
        )

    def __call__(self, rows, time):
        return self.sampler.sample_indices(rows, time, time, rows)[0].num_nodes


class Rival:
    def __init__(self, store, scan):
        self.scan = scan
        self.sampler = ContextSampler(store, [LocalNeighborhood(WIDTH)], NUM_CELLS)
        arrays = store.store.arrays
        incoming = int(np.diff(arrays.incoming_start).max())
        parents = int(np.diff(arrays.fkey_start).max())
        self.work = new_frontier(NUM_CELLS, incoming, parents)
        self.out = self.sampler.layout.new(BATCH, {})

    def __call__(self, rows, time):
        keys = np.zeros((len(rows), 3), dtype=np.int64)
        keys[:, 2] = rows
        self.out.size[:] = 0
        rival_batch(
            self.sampler.store.arrays,
            self.sampler.task_store.arrays,
            self.sampler.limits,
            self.work,
            rows,
            time,
            time,
            keys,
            self.out,
            self.scan,
        )
        return int(self.out.size[0])


def measure(ways, store, seconds, repeats):
    r"""Median rates, and cells of a context, the ways taking turns."""
    all_time = store.arrays.time
    rates = {name: [] for name in ways}
    cells = {}
    for way in ways.values():  # Compiles, and touches every page.
        rows = np.arange(BATCH)
        way(rows, all_time[rows])
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        batches = rng.integers(0, len(all_time), (10_000, BATCH))
        for name, way in ways.items():
            count = total = 0
            start = time.perf_counter()
            for rows in batches:
                total += way(rows, all_time[rows])
                count += len(rows)
                if time.perf_counter() - start > seconds:
                    break
            rates[name].append(count / (time.perf_counter() - start))
            cells[name] = total / count
    return {name: statistics.median(r) for name, r in rates.items()}, cells


def load_rates(store, num_workers, seconds):
    r"""Contexts per second of a loader, to CellData with its embeddings."""
    loader = ContextLoader(
        store,
        num_neighbors=WIDTH,
        temporal_strategy='uniform',
        num_cells=NUM_CELLS,
        batch_size=BATCH,
        shuffle=True,
        num_workers=num_workers,
    )
    batches = iter(loader)
    next(batches)
    count, start = 0, time.perf_counter()
    for cells in batches:
        count += cells.num_contexts
        if time.perf_counter() - start > seconds:
            break
    return count / (time.perf_counter() - start)


def official_rate(python, arguments, seconds, folder):
    path = Path(folder) / 'official.json'
    command = [python, str(OFFICIAL), *arguments, '--num-cells', str(NUM_CELLS)]
    command += ['--width', str(WIDTH), '--local-cells', str(NUM_CELLS)]
    command += ['--seconds', str(seconds), '--json', str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'the official engine failed: {done.stderr[-2000:]}')
    return json.loads(path.read_text())['contexts_per_second']


def rel_f1_store():
    dataset = load_dataset(str(REL_F1))
    db = dataset.make_db()
    data, col_stats = to_hetero(db, cutoff=dataset.val_timestamp)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder='hashing', cutoff=dataset.val_timestamp
    )
    return store.with_task(Task.from_relbench(load_task(dataset, 'driver-dnf'), db))


def compare_official(python, seconds, repeats):
    r"""Rates of ours and of the official engine, in turns."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        db = make_database(1_000_000)
        write_parquet(db, make_task(db), Path(folder))
        shop = ['--tables', folder]
        f1 = ['--db', str(REL_F1), '--task', 'driver-dnf', '--only-task']
        cases = {
            'shop, 1 M rows': (make_store(1_000_000), shop),
            'rel-f1': (rel_f1_store(), f1),
        }
        for name, (store, source) in cases.items():
            rates = {'ours': [], 'official': [], 'official, one by one': []}
            rates['official, choice only'] = []
            for _ in range(repeats):
                ours, _ = measure({'ours': Ours(store)}, store, seconds, 1)
                rates['ours'].append(ours['ours'])
                for way, options in (
                    ('official', ['--batch-size', '32']),
                    ('official, one by one', ['--batch-size', '1']),
                    (
                        'official, choice only',
                        ['--batch-size', '32', '--text-width', '1'],
                    ),
                ):
                    width = options[-1] if '--text-width' in options else '384'
                    kept = ['--pre', f'{folder}/{name}-{width}']
                    options = [*source, *options, *kept]
                    rate = official_rate(python, options, seconds, folder)
                    rates[way].append(rate)
            out[name] = {
                way: statistics.median(values) for way, values in rates.items()
            }
    return out


def plot(rates, path):
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout='constrained')
    sizes = sorted(rates)
    for name in rates[sizes[0]]:
        axes.loglog(sizes, [rates[size][name] for size in sizes], 'o-', label=name)
    axes.set(xlabel='rows of the database', ylabel='contexts per second')
    axes.set_title(f'Contexts of {NUM_CELLS} cells, width {WIDTH}')
    axes.grid(alpha=0.3, which='both')
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, nargs='+')
    parser.add_argument('--seconds', type=float, default=2.0, help='of a repetition')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--official', help='python of its environment')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    args = parser.parse_args()
    sizes = args.rows or [100_000, 1_000_000, 10_000_000]
    if args.quick:
        sizes, args.seconds, args.repeats = [20_000, 100_000], 0.2, 1
    console = Console()
    rates: dict[int, dict[str, float]] = {}
    loads: dict[int, dict[str, float]] = {}
    for size in sizes:
        with console.status(f'{size:,} rows'):
            store = make_store(size)
            ways = {
                'ours': Ours(store),
                'ours, 2 threads': Ours(store, num_threads=2),
                'ours, last': Ours(store, 'last'),
                'eager': Rival(store, scan=False),
                'published': Rival(store, scan=True),
            }
            rates[size], cells = measure(ways, store, args.seconds, args.repeats)
            loads[size] = {
                f'{workers} workers': statistics.median(
                    load_rates(store, workers, args.seconds)
                    for _ in range(args.repeats)
                )
                for workers in (0, 1, 2)
            }
        del store, ways
    largest, middle = sizes[-1], sizes[-2] if len(sizes) > 1 else sizes[-1]
    top = rates[largest]
    figures = {
        'contexts_per_second': {str(size): r['ours'] for size, r in rates.items()},
        'rates': {str(size): r for size, r in rates.items()},
        'loader': {str(size): r for size, r in loads.items()},
        'threads_2_over_1': top['ours, 2 threads'] / top['ours'],
        'rows_10m_over_1m': top['ours'] / rates[middle]['ours'],
        'over_eager': top['ours'] / top['eager'],
        'over_published': top['ours'] / top['published'],
        'loader_2_workers_over_engine': loads[largest]['2 workers'] / top['ours'],
    }
    table = Table(title=f'contexts per second, {NUM_CELLS} cells, width {WIDTH}')
    table.add_column('rows', justify='right')
    columns = [*top, *(f'loader, {name}' for name in loads[largest])]
    for name in columns:
        table.add_column(name, justify='right')
    for size in sizes:
        values = [*rates[size].values(), *loads[size].values()]
        table.add_row(f'{size:,}', *(f'{value:,.0f}' for value in values))
    console.print(table)
    console.print(f'cells a context: {cells["ours"]:.0f}')
    if args.official:
        official = compare_official(args.official, args.seconds, args.repeats)
        figures['official'] = official
        for key, case in zip(
            ('over_official', 'over_official_rel_f1'), official.values()
        ):
            figures[key] = case['ours'] / case['official']
            console.print(f'{key}: {figures[key]:.2f}')
        table = Table(title='beside the official engine, contexts per second')
        table.add_column('')
        for name in next(iter(official.values())):
            table.add_column(name, justify='right')
        for name, case in official.items():
            table.add_row(name, *(f'{value:,.0f}' for value in case.values()))
        console.print(table)
    for key in ('threads_2_over_1', 'rows_10m_over_1m', 'over_eager'):
        console.print(f'{key}: {figures[key]:.2f}')
    for key in ('over_published', 'loader_2_workers_over_engine'):
        console.print(f'{key}: {figures[key]:.2f}')
    if args.plot:
        plot(rates, args.plot)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2))


if __name__ == '__main__':
    sys.exit(main())
