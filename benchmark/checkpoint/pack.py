r"""Puts a pretrained model into the package, in half precision.

    python benchmark/checkpoint/pack.py runs/first runs/second \
        torch_geometric_rfm/pretrained --shrink 0.2

The model is that of the last run; its configuration names the stages before, too.
With --shrink F, predicted booleans keep this share of what was learned beside what they
copy.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from torch_geometric_rfm.train.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    undo_shrink,
)

MAX_BYTES = 12 * 10**6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('runs', type=Path, nargs='+')
    parser.add_argument('out', type=Path)
    parser.add_argument('--shrink', type=float, default=1.0, metavar='F')
    args = parser.parse_args()
    if not 0 < args.shrink <= 1:
        sys.exit(f'--shrink must be above 0 and at most 1 (got {args.shrink:g})')
    models, settings = zip(*map(load_checkpoint, args.runs))
    model = models[-1]
    undo_shrink(model, settings[-1]['training'])
    size = 2 * sum(weight.numel() for weight in model.state_dict().values())
    if size > MAX_BYTES:
        sys.exit(f'the weights take {size:,} bytes, more than {MAX_BYTES:,}')
    shrink = {'boolean': args.shrink} if args.shrink < 1 else {}
    for name, factor in shrink.items():
        model.decoder.shrink(factor, name)  # Undone when it is trained further.
    kept = dict(settings[-1])
    stages = [one['training'] for one in settings]
    seen = dict.fromkeys(name for stage in stages for name in stage['databases'])
    kept['training'] = {
        'databases': list(seen),
        'stages': stages,
        'shrink': shrink,
    }
    save_checkpoint(args.out, model, kept, torch.float16)
    loaded, _ = load_checkpoint(args.out)
    exact = model.state_dict()
    error = max(
        float((exact[name] - weight).abs().max() / exact[name].abs().max().clamp(1e-8))
        for name, weight in loaded.state_dict().items()
    )
    print(f'{size:,} bytes of weights, rounded by at most {error:.1e} of the largest')


if __name__ == '__main__':
    main()
