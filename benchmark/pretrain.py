r"""Throughput of pretraining in contexts a second, and where the time goes.

    python benchmark/pretrain.py DB... --steps 40 \
        --config benchmark/checkpoint/pretrain.json

Without a configuration it is the default one, of the small model with contexts of 128
cells. With several recipes they take turns, step by step.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from torch_geometric_rfm.data import get_text_encoder
from torch_geometric_rfm.loader import MixtureLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import PretrainConfig
from torch_geometric_rfm.train.averaging import average_weights, clone_state
from torch_geometric_rfm.train.mixture import make_parts, open_databases
from torch_geometric_rfm.train.optimizer import make_optimizer

PARTS = ('load', 'forward', 'loss', 'backward', 'update')


def steps_of(
    config: PretrainConfig, databases: list[Any], encoder: Any
) -> Iterator[dict[str, float]]:
    r"""The seconds of the parts of one step after another."""
    loader = MixtureLoader(
        make_parts(databases, config),
        batch_size=config.batch_size,
        group_size=config.group_size,
        num_cells=config.num_cells,
        temperature=config.temperature,
        weights=config.weights or None,
        flip_rate=config.flip_rate,
        **config.sampling,
    )
    shape = {'text_channels': encoder.channels} | config.model
    model = RelationalTransformer.small(**shape)
    optimizer = make_optimizer(model, 1e-3, 0.1)
    averaged = clone_state(model)
    loss_fn = MaskedCellLoss(config.huber_delta, reduction='context')
    batches = iter(loader)
    while True:
        times = [time.perf_counter()]

        def lap(times: list[float] = times) -> None:
            times.append(time.perf_counter())

        cells = next(batches)
        lap()
        output = model(cells, all_heads=True)
        lap()
        loss = loss_fn(output, cells)
        lap()
        loss.backward()
        lap()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average_weights(averaged, model, 0.99)
        lap()
        yield dict(zip(PARTS, (b - a for a, b in zip(times, times[1:]))))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('databases', nargs='+')
    parser.add_argument('--config', type=Path, nargs='*', default=[])
    parser.add_argument('--cells', type=int, help='in place of those of a recipe')
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--operations', type=int, default=0, help='show so many')
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f'--steps must be positive (got {args.steps})')
    encoder = get_text_encoder('hashing')
    recipes = {'default': PretrainConfig(num_steps=1, num_cells=[128])}
    for path in args.config:
        recipes[str(path)] = PretrainConfig.from_file(path, num_steps=1)
    databases = open_databases(args.databases, encoder)
    runs = {}
    for name, config in recipes.items():
        if args.cells is not None:
            config.num_cells = [args.cells]
        runs[name] = steps_of(config, databases, encoder)
        for _ in range(3):  # Compiles kernels and fills caches.
            next(runs[name])
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(args.steps):
        for name, run in runs.items():
            seconds[name].append(next(run))
    rates = {}
    for name, steps in seconds.items():
        total = sum(sum(step.values()) for step in steps)
        rates[name] = args.steps * recipes[name].batch_size / total
        cells = recipes[name].num_cells
        ratio = rates[name] / rates['default']
        print(f'{name}, {cells} cells: {rates[name]:.1f} contexts/s, {ratio:.2f} times')
        for part in PARTS:
            each = [step[part] for step in steps]
            share, ms = sum(each) / total, 1e3 * median(each)
            print(f'  {part:9s} {ms:8.1f} ms a step {share:6.1%}')
    for name, run in runs.items() if args.operations else ():
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(4):
                next(run)
        print(name)
        print(
            found.key_averages().table(
                'self_cpu_time_total',
                row_limit=args.operations,
                max_name_column_width=40,
            )
        )


if __name__ == '__main__':
    main()
