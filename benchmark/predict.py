r"""Seconds to predict the test rows of driver-dnf with the model of RT v1's size.

    python benchmark/predict.py --json predict.json

22,336,131 parameters with random weights, contexts of 1024 cells. On the first rows
the ways take turns: ``dense`` masks and every cell computed, ``blocked`` masks and
every cell, and ``ours``, where the last block computes what the seed cells read. Then
ours predicts them all.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from torch_geometric_rfm.data import CellStore, Task, load_dataset, load_task, to_hetero
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.nn import RelationalTransformer, attention_masks

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'


def make_loader(num_cells, batch_size):
    dataset = load_dataset(str(REL_F1))
    db = dataset.make_db()
    data, col_stats = to_hetero(db, cutoff=dataset.val_timestamp)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder='hashing', cutoff=dataset.val_timestamp
    ).with_task(Task.from_relbench(load_task(dataset, 'driver-dnf'), db))
    return ContextLoader(
        store,
        input_nodes='test',
        num_neighbors=128,
        num_cells=num_cells,
        batch_size=batch_size,
    )


def seconds(model, cells, backend, hidden_only):
    start = time.perf_counter()
    masks = attention_masks(cells, model.attentions, backend=backend)
    model(cells, masks, hidden_only=hidden_only)
    return time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--num-cells', type=int, default=1024)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--rows', type=int, help='of all test rows, the first')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    console = Console()
    torch.manual_seed(0)
    model = RelationalTransformer.rt_v1().eval()
    loader = make_loader(args.num_cells, args.batch_size)
    ways = {
        'dense': ('dense', False),
        'blocked': ('auto', False),
        'ours': ('auto', True),
    }
    spent = {name: [] for name in ways}
    batches = iter(loader)
    seconds(model, next(batches), 'auto', True)  # Warms up.
    for _ in range(args.repeats):
        cells = next(batches)
        for name, way in ways.items():
            spent[name].append(seconds(model, cells, *way) / args.batch_size)
    median = {name: statistics.median(values) for name, values in spent.items()}
    for name, value in median.items():
        console.print(f'{name}: {value:.3f} seconds a context')

    num_batches = len(loader)
    if args.rows is not None:
        num_batches = -(-args.rows // args.batch_size)
    done, start = 0, time.perf_counter()
    for _, cells in zip(range(num_batches), track(loader, total=num_batches)):
        model(cells, hidden_only=True)
        done += cells.num_contexts
    total = time.perf_counter() - start
    threads = torch.get_num_threads()
    console.print(
        f'{done} rows in {total:.0f} seconds, sampling included, {threads} threads'
    )
    if args.json:
        figures = {'seconds_a_context': median, 'rows': done, 'seconds': total}
        args.json.write_text(json.dumps(figures | {'threads': threads}, indent=2))


if __name__ == '__main__':
    main()
