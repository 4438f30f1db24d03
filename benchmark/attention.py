r"""Attention over real contexts, beside dense attention with a boolean mask.

    python benchmark/attention.py --json attention.json --plot attention.png

Each mask, forward and forward with backward, on contexts of n cells of each database:
the encoding that ``attention_masks`` picks against scaled dot-product attention over
padded contexts. Neither counts projections. One process, interleaved, medians. Contexts
of databases too small for n are as large as they get. ``--databases`` takes folders,
each with a task after a colon, and a horizon after another where the task needs one.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from torch_geometric_rfm.data import (
    CellStore,
    HashingTextEncoder,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.nn import (
    AttentionMask,
    RelationalTransformer,
    attention_masks,
)

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'
NAMES = ('column', 'feature', 'neighbor', 'full')
MASKED = NAMES[:3]
PASSES = ('forward', 'forward_backward')


def make_store(source):
    path, task, *horizon = source.split(':')
    dataset, db = load_dataset(path), load_database(path)
    horizon = horizon[0] if horizon else None
    task = Task.from_relbench(load_task(path, task), db, horizon=horizon)
    data, col_stats = to_hetero(db, cutoff=dataset.val_timestamp)
    return CellStore.from_hetero(
        data,
        col_stats,
        text_encoder=HashingTextEncoder(channels=16),
        cutoff=dataset.val_timestamp,
    ).with_task(task)


def draw(store, num_cells, total, width, device='cpu'):
    r"""A batch of about :obj:`total` cells."""
    loader = ContextLoader(
        store,
        num_neighbors=width,
        num_cells=num_cells,
        batch_size=max(1, total // num_cells),
        shuffle=True,
    )
    return next(iter(loader)).to(device)


class Operator:
    def __init__(self, mask, num_cells, heads, head_channels, device='cpu'):
        self.mask = mask
        dtype = torch.float32 if device == 'cpu' else torch.bfloat16
        kind = {'device': device, 'dtype': dtype}
        shape = (num_cells, 3 * heads * head_channels)
        self.qkv = torch.randn(shape, requires_grad=True, **kind)
        self.weight = torch.randn(num_cells, heads, head_channels, **kind)
        self.heads, self.scale = heads, head_channels**-0.5

    def forward(self):
        q, k, v = (
            src.unflatten(1, (self.heads, -1)) for src in self.qkv.chunk(3, dim=1)
        )
        return self.mask.attend(q, k, v, self.scale)

    def forward_backward(self):
        torch.autograd.grad(self.forward(), self.qkv, self.weight)


def timed(function, *args, **kwargs):
    synchronize()
    start = time.perf_counter()
    function(*args, **kwargs)
    synchronize()
    return time.perf_counter() - start


def synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(cells, args):
    r"""Median seconds by pass, mask and way, the ways taking turns."""
    num_cells = cells.num_nodes
    ours = attention_masks(cells, NAMES)
    size = (num_cells, args.heads, args.channels // args.heads)
    dense = attention_masks(cells, NAMES, backend='dense')
    ways = {
        name: (
            Operator(ours[name], *size, args.device),
            Operator(dense[name], *size, args.device),
        )
        for name in NAMES
    }
    seconds = {p: {name: ([], []) for name in NAMES} for p in PASSES}
    for repeat in range(args.repeats + 1):
        for name, pair in ways.items():
            for way, operator in enumerate(pair):
                with torch.no_grad():
                    forward = timed(operator.forward)
                both = timed(operator.forward_backward)
                if repeat > 0:  # The first one warms up.
                    seconds['forward'][name][way].append(forward)
                    seconds['forward_backward'][name][way].append(both)
    kinds = {
        name: type(mask).__name__ if isinstance(mask, AttentionMask) else 'edges'
        for name, mask in ours.items()
    }
    return {
        p: {name: [statistics.median(way) for way in both] for name, both in by.items()}
        for p, by in seconds.items()
    }, kinds


def building_share(cells, args):
    r"""Seconds to build all masks, and their share of a training step."""
    torch.manual_seed(0)
    model = RelationalTransformer(
        args.channels, args.layers, args.heads, 4 * args.channels, text_channels=16
    ).to(args.device)
    building, step = [], []
    for repeat in range(max(2, args.repeats // 2) + 1):
        build = timed(attention_masks, cells, NAMES)
        spent = timed(lambda: model(cells).square().sum().backward())
        if repeat > 0:
            building.append(build)
            step.append(spent)
    build = statistics.median(building)
    return {'seconds': build, 'share_of_step': build / statistics.median(step)}


def exponent(sizes, seconds):
    r"""Slope of the logarithms of time a context against its size."""
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def peak_memory(source, num_cells, backend, args):
    r"""Megabytes that a masked forward and backward adds, in its own process."""
    command = [sys.executable, __file__, '--memory', backend, '--databases', source]
    command += ['--sizes', str(num_cells), '--cells', str(args.cells)]
    command += ['--channels', str(args.channels), '--heads', str(args.heads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_memory(args):
    cells = draw(make_store(args.databases[0]), args.sizes[0], args.cells, args.width)
    size = (cells.num_nodes, args.heads, args.channels // args.heads)
    # Linux forgets the largest resident size when asked to.
    Path('/proc/self/clear_refs').write_text('5')
    before = largest_resident()
    masks = attention_masks(cells, MASKED, backend=args.memory)
    for mask in masks.values():
        Operator(mask, *size).forward_backward()
    print((largest_resident() - before) / 1024)


def largest_resident():
    r"""Kilobytes of memory this process had at most."""
    lines = Path('/proc/self/status').read_text().splitlines()
    (line,) = (line for line in lines if line.startswith('VmHWM'))
    return int(line.split()[1])


def plot(figures, memory, path):
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, 2 if memory else 1, figsize=(11 if memory else 6, 4), layout='constrained'
    )
    axes = np.atleast_1d(axes)
    for source, by_size in figures.items():
        sizes = [by_size[n]['mean_cells'] for n in by_size]
        for way, label in ((0, ''), (1, ', dense')):
            seconds = [
                sum(
                    by_size[n]['ms_a_context']['forward_backward'][m][way]
                    for m in MASKED
                )
                for n in by_size
            ]
            style = 'o-' if way == 0 else 's--'
            axes[0].loglog(sizes, seconds, style, label=f'{source}{label}')
    axes[0].set(ylabel='ms a context, forward and backward', title='Time')
    for way, by_size in memory.items():
        axes[1].semilogx(list(by_size), list(by_size.values()), 'o-', label=way)
        axes[1].set(ylabel='MB', title='Peak memory')
    for ax in axes:
        ax.set_xlabel('cells of a context')
        ticks = next(iter(figures.values()))
        ax.set_xticks(list(ticks), [f'{n:,}' for n in ticks])
        ax.minorticks_off()
        ax.grid(alpha=0.3, which='both')
        ax.legend(frameon=False)
    figure.savefig(path, dpi=150)


def run(args, console):
    figures = {}
    for source in args.databases:
        store = make_store(source)
        name = Path(source.split(':')[0]).name
        figures[name] = {}
        for n in args.sizes:
            with console.status(f'{name}, {n:,} cells'):
                cells = draw(store, n, args.cells, args.width, args.device)
                seconds, kinds = measure(cells, args)
                num = cells.num_contexts
                figures[name][n] = {
                    'contexts': num,
                    'mean_cells': cells.num_nodes / num,
                    'encoding': kinds,
                    'ms_a_context': {
                        p: {m: [1e3 * s / num for s in by[m]] for m in NAMES}
                        for p, by in seconds.items()
                    },
                    'masked_over_dense': {
                        p: sum(by[m][1] for m in MASKED) / sum(by[m][0] for m in MASKED)
                        for p, by in seconds.items()
                    },
                    'over_dense': {
                        p: {m: by[m][1] / by[m][0] for m in NAMES}
                        for p, by in seconds.items()
                    },
                    'building': building_share(cells, args),
                }
    return figures


def summarise(figures, sizes):
    median = statistics.median
    blocked = {
        m: {
            source: exponent(
                [d['mean_cells'] for d in by.values()],
                [d['ms_a_context']['forward_backward'][m][0] for d in by.values()],
            )
            for source, by in figures.items()
        }
        for m in NAMES
    }
    return {
        'masked_over_dense': {
            str(n): {
                p: median(by[n]['masked_over_dense'][p] for by in figures.values())
                for p in PASSES
            }
            for n in sizes
        },
        'exponent': blocked,
        'databases': {
            s: {str(n): d for n, d in by.items()} for s, by in figures.items()
        },
    }


def show(console, figures):
    for source, by_size in figures.items():
        table = Table(title=f'{source}: dense time over ours, forward / with backward')
        for column in ('n', 'contexts', 'cells', *NAMES, 'masked', 'building / step'):
            table.add_column(column, justify='right')
        for n, d in by_size.items():
            forward, both = (d['over_dense'][p] for p in PASSES)
            masked = d['masked_over_dense']
            table.add_row(
                f'{n:,}',
                str(d['contexts']),
                f'{d["mean_cells"]:,.0f}',
                *(f'{forward[m]:.2f} / {both[m]:.2f}' for m in NAMES),
                f'{masked["forward"]:.2f} / {masked["forward_backward"]:.2f}',
                f'{d["building"]["share_of_step"]:.1%}',
            )
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--databases', nargs='+', default=[f'{REL_F1}:driver-dnf'])
    parser.add_argument('--sizes', type=int, nargs='+')
    parser.add_argument('--cells', type=int, default=4096, help='of a batch, at least')
    parser.add_argument('--width', type=int, default=128, help='neighbors of a row')
    parser.add_argument('--channels', type=int, default=256)
    parser.add_argument('--heads', type=int, default=8)
    parser.add_argument('--device', default='cpu', help='cuda is timed in bfloat16')
    parser.add_argument('--layers', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    parser.add_argument('--memory', help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.sizes = args.sizes or [256, 512, 1024, 2048, 4096, 8192]
    if args.quick:
        args.sizes, args.repeats, args.cells = [128, 256, 512], 1, 512
    if args.memory:
        print_memory(args)
        return
    console = Console()
    figures = run(args, console)
    show(console, figures)
    out = summarise(figures, args.sizes)
    console.print('exponents of growth with backward:', out['exponent'])
    memory = {}
    if args.plot and args.device == 'cpu':
        for backend in ('blocked', 'dense'):
            memory[backend] = {
                n: peak_memory(args.databases[0], n, backend, args) for n in args.sizes
            }
        out['peak_memory_mb'] = memory
    if args.plot:
        plot(figures, memory, args.plot)
    if args.json:
        args.json.write_text(json.dumps(out, indent=2) + '\n')


if __name__ == '__main__':
    main()
