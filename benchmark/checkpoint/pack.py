r"""Puts a pretrained model into the package, in half precision.

python benchmark/checkpoint/pack.py runs/checkpoint torch_geometric_rfm/pretrained
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from torch_geometric_rfm.train.checkpoint import load_checkpoint, save_checkpoint

MAX_BYTES = 12 * 10**6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('run', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args()
    model, settings = load_checkpoint(args.run)
    size = 2 * sum(weight.numel() for weight in model.state_dict().values())
    if size > MAX_BYTES:
        sys.exit(f'the weights take {size:,} bytes, more than {MAX_BYTES:,}')
    save_checkpoint(args.out, model, settings, torch.float16)
    loaded, _ = load_checkpoint(args.out)
    error = max(
        float((before - after).abs().max() / before.abs().max().clamp(min=1e-8))
        for before, after in zip(
            model.state_dict().values(), loaded.state_dict().values()
        )
        if before.is_floating_point() and before.numel()
    )
    print(f'{size:,} bytes of weights, rounded by at most {error:.1e} of the largest')


if __name__ == '__main__':
    main()
