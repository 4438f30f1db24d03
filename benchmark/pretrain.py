r"""Throughput of pretraining in contexts a second, and where the time goes.

python benchmark/pretrain.py DB... --cells 128 --steps 20
"""

import argparse
import time

import torch

from torch_geometric_rfm.data import get_text_encoder
from torch_geometric_rfm.loader import MixtureLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import PretrainConfig
from torch_geometric_rfm.train.averaging import average_weights, clone_state
from torch_geometric_rfm.train.mixture import make_parts, open_databases
from torch_geometric_rfm.train.optimizer import make_optimizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('databases', nargs='+')
    parser.add_argument('--cells', type=int, default=128)
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--group-size', type=int, default=4)
    parser.add_argument('--steps', type=int, default=20)
    args = parser.parse_args()
    encoder = get_text_encoder('hashing')
    config = PretrainConfig(num_steps=1, num_cells=[args.cells])
    loader = MixtureLoader(
        make_parts(open_databases(args.databases, encoder), config),
        batch_size=args.batch_size,
        group_size=args.group_size,
        num_cells=[args.cells],
        **config.sampling,
    )
    model = RelationalTransformer.small(text_channels=encoder.channels)
    optimizer = make_optimizer(model, 1e-3, 0.1)
    averaged, loss_fn = clone_state(model), MaskedCellLoss(reduction='context')
    seconds = dict.fromkeys(('load', 'forward', 'loss', 'backward', 'update'), 0.0)
    batches = iter(loader)
    for step in range(-2, args.steps):
        times = [time.perf_counter()]

        def lap(times=times) -> None:
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
        for name, first, last in zip(seconds, times, times[1:]):
            seconds[name] += (last - first) if step >= 0 else 0.0
    total = sum(seconds.values())
    print(f'{args.steps * args.batch_size / total:.1f} contexts/s, {loader}')
    for name, value in seconds.items():
        ms = 1e3 * value / args.steps
        print(f'{name:9s} {ms:8.1f} ms a step {value / total:6.1%}')


if __name__ == '__main__':
    main()
