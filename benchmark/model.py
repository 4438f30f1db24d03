r"""Seconds of a whole model by the number of cells of a context.

    python benchmark/model.py --json model.json --plot model.png

The RT v1 of 22 million parameters (``--model rt_j`` for RT-J) on contexts of rel-f1,
forward and forward with backward, masks built in each step as in training;
interleaved, medians. ``dense`` is scaled dot product attention with a boolean mask
for every attention; ``strongest dense`` drops the mask of full attention where
nothing is padded. With ``--official PYTHON``, an environment made as
``official_model.py`` says, the official module runs forward on the same weights
and contexts, in turns with ours, and the largest difference of the outputs is
stated.
"""

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from torch_geometric_rfm.data import CellStore, Task, load_dataset, load_task, to_hetero
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import (
    DenseMask,
    RelationalTransformer,
    attention_masks,
)
from torch_geometric_rfm.nn.models.key_map import to_official
from torch_geometric_rfm.testing import official_batch, save_official_input

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'
OFFICIAL = Path(__file__).parent / 'official_model.py'


def real_store():
    dataset = load_dataset(str(REL_F1))
    db = dataset.make_db()
    data, col_stats = to_hetero(db, cutoff=dataset.val_timestamp)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder='hashing', cutoff=dataset.val_timestamp
    )
    return store.with_task(
        Task.from_relbench(load_task(dataset, 'driver-position'), db)
    )


def real_contexts(store, num_cells, batch_size):
    rows = store.rows_of_split('val')[:batch_size]
    loader = ContextLoader(
        store,
        input_nodes=torch.as_tensor(rows),
        batch_size=batch_size,
        num_cells=num_cells,
        num_neighbors=128,
    )
    return next(iter(loader))


def make_model(name, num_layers):
    torch.manual_seed(0)
    preset = {'rt_v1': RelationalTransformer.rt_v1, 'rt_j': RelationalTransformer.rt_j}
    # Zero branches would hide every difference between two models.
    sizes = {} if num_layers is None else {'num_layers': num_layers}
    return preset[name](zero_init=False, **sizes)


def dense_masks(cells, names):
    masks = attention_masks(cells, names, backend='dense')
    if 'full' in masks and masks['full'].mask is None:
        num_contexts, size = masks['full'].shape
        every = torch.ones(
            num_contexts, size, size, dtype=torch.bool, device=cells.row.device
        )
        masks['full'] = DenseMask(every, None, (num_contexts, size))
    return masks


def ways_of(names, backend):
    return {
        'ours': lambda cells: attention_masks(cells, names, backend=backend),
        'strongest dense': lambda cells: attention_masks(cells, names, backend='dense'),
        'dense': lambda cells: dense_masks(cells, names),
    }


def forward(model, cells, build):
    with torch.no_grad(), autocast(cells):
        return model(cells, build(cells))


def forward_backward(model, cells, build):
    loss_fn = MaskedCellLoss()
    with autocast(cells):
        loss = loss_fn(model(cells, build(cells)), cells)
    loss.backward()
    model.zero_grad(set_to_none=True)


def autocast(cells):
    r"""bfloat16 on a GPU, full precision on a CPU."""
    device = cells.row.device.type
    return torch.autocast(device, torch.bfloat16, enabled=device != 'cpu')


class Official:
    r"""The official module in a process of its own, ready for one more forward."""

    def __init__(self, python, model, name, cells, folder, eager):
        host = cells.clone().cpu()
        self.batch = official_batch(host, model.boolean_as_number)
        self.target = Path(folder) / 'out.safetensors'
        source = Path(folder) / 'in.safetensors'
        save_official_input(
            source,
            {key: value.cpu() for key, value in to_official(model).items()},
            self.batch,
            model=name,
            num_heads=model.heads,
            rms_eps=model.rms_eps,
            loss_fn='huber',
        )
        command = [python, str(OFFICIAL), str(source), str(self.target), '--serve']
        command += ['--device', cells.row.device.type]
        environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
        environment['OMP_NUM_THREADS'] = str(torch.get_num_threads())
        self.process = subprocess.Popen(
            [*command, *(['--eager'] if eager else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        if self.process.stdout.readline().strip() != 'ready':
            raise RuntimeError('the official module failed; its message stands above')

    def seconds(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def difference(self, cells, output, boolean):
        theirs = load_file(self.target)
        real = ~self.batch['is_padding']
        largest = 0.0
        for kind, key in enumerate(['number', boolean, 'datetime']):
            gap = theirs[key].squeeze(-1)[real].float() - output.float().cpu()
            gap = gap[cells.cell_type.cpu() == kind].abs()
            largest = max([largest, *gap.tolist()])
        return largest

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def device_name(device):
    return torch.cuda.get_device_name() if device == 'cuda' else 'cpu'


def matmul_peak(device):
    r"""Floating point operations per second of the fastest large matmul."""
    size, dtype = (8192, torch.bfloat16) if device == 'cuda' else (1024, torch.float32)
    a = torch.randn(size, size, dtype=dtype, device=device)
    best = min(clocked(torch.mm, a, a) for _ in range(10))
    return 2 * size**3 / best


def clocked(step, *args):
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: 0)
    synchronize()
    start = time.perf_counter()
    step(*args)
    synchronize()
    return time.perf_counter() - start


def measure(model, cells, ways, repeats, official):
    r"""Median seconds by step and way, the ways taking turns."""
    steps = {'forward': forward, 'forward_backward': forward_backward}
    seconds = {step: {way: [] for way in ways} for step in steps}
    if official is not None:
        seconds['forward']['official'] = []
    for repeat in range(repeats + 1):
        for step, function in steps.items():
            for way, build in ways.items():
                spent = clocked(function, model, cells, build)
                if repeat > 0:  # The first warms up.
                    seconds[step][way].append(spent)
        if official is not None and repeat > 0:
            seconds['forward']['official'].append(official.seconds())
    return {
        step: {way: statistics.median(spent) for way, spent in by_way.items()}
        for step, by_way in seconds.items()
    }


def ratios(seconds, step, way):
    return {
        str(size): by_step[step][way] / by_step[step]['ours']
        for size, by_step in seconds.items()
        if way in by_step[step]
    }


def plot(seconds, path):
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout='constrained')
    sizes = sorted(seconds)
    for axis, step in zip(axes, ('forward', 'forward_backward')):
        for way in seconds[sizes[0]][step]:
            axis.loglog(sizes, [seconds[n][step][way] for n in sizes], 'o-', label=way)
        axis.set(xlabel='cells of a context', ylabel='seconds of a batch')
        axis.set_title(step.replace('_', ' + '))
        axis.grid(alpha=0.3, which='both')
        axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--cells', type=int, nargs='+')
    parser.add_argument('--model', choices=['rt_v1', 'rt_j'], default='rt_v1')
    parser.add_argument('--batch-size', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=5)
    default = inspect.signature(attention_masks).parameters['backend'].default
    parser.add_argument('--backend', default=default, help='of our masks')
    parser.add_argument('--official', help='python of its environment')
    parser.add_argument('--official-eager', action='store_true')
    parser.add_argument('--quick', action='store_true', help='two layers, few cells')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    args = parser.parse_args()
    sizes, num_layers = args.cells or [256, 512, 1024, 2048, 4096], None
    if args.quick:
        sizes, num_layers, args.repeats = args.cells or [64, 128], 2, 1
    console = Console()
    model, store = make_model(args.model, num_layers).to(args.device), real_store()
    boolean = 'number' if model.boolean_as_number else 'boolean'
    seconds, differences, cell_counts = {}, {}, {}
    for size in sizes:
        with (
            console.status(f'{size:,} cells'),
            tempfile.TemporaryDirectory() as folder,
        ):
            cells = real_contexts(store, size, args.batch_size).to(args.device)
            cell_counts[str(size)] = cells.num_nodes / cells.num_contexts
            ways = ways_of(model.attentions, args.backend)
            official = None
            if args.official:
                official = Official(
                    args.official, model, args.model, cells, folder, args.official_eager
                )
            seconds[size] = measure(model, cells, ways, args.repeats, official)
            if official is not None:
                output = forward(model, cells, ways['ours'])
                differences[str(size)] = official.difference(cells, output, boolean)
                official.close()
    both = ('forward', 'forward_backward')
    figures = {
        'model': args.model,
        'backend': args.backend,
        'device': device_name(args.device),
        'threads': torch.get_num_threads(),
        'training_contexts_per_second': {
            str(size): {
                way: args.batch_size / spent
                for way, spent in by_step['forward_backward'].items()
            }
            for size, by_step in seconds.items()
        },
        'block_parameters': sum(p.numel() for p in model.blocks.parameters()),
        'peak': matmul_peak(args.device),
        'cells_a_context': cell_counts,
        'seconds': {str(size): by_step for size, by_step in seconds.items()},
        'model_over_dense': {s: ratios(seconds, s, 'strongest dense') for s in both},
        'model_over_masked_dense': {s: ratios(seconds, s, 'dense') for s in both},
        'model_over_official': {'forward': ratios(seconds, 'forward', 'official')},
        'difference_from_official': differences,
    }
    for step in both:
        table = Table(
            title=f'{args.model}, {step}, seconds of {args.batch_size} contexts'
        )
        table.add_column('cells', justify='right')
        names = list(seconds[sizes[0]][step])
        for name in names:
            table.add_column(name, justify='right')
        for name in names[1:]:
            table.add_column(f'ours over {name}', justify='right')
        for size in sizes:
            spent = seconds[size][step]
            row = [f'{value:.3f}' for value in spent.values()]
            row += [f'{spent[name] / spent["ours"]:.2f}' for name in names[1:]]
            table.add_row(f'{size:,}', *row)
        console.print(table)
    for size, gap in differences.items():
        console.print(
            f'largest difference from the official outputs, {size}: {gap:.1e}'
        )
    if args.plot:
        plot(seconds, args.plot)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2))


if __name__ == '__main__':
    sys.exit(main())
