r"""Puts the mean of pretrained models into the package, in half precision.

    python benchmark/checkpoint/pack.py runs/first runs/checkpoint \
        torch_geometric_rfm/pretrained --shrink 0.2

The mean of a model and of what it became by further training often does better on other
data than either (`"Robust fine-tuning of zero-shot models"
<https://arxiv.org/abs/2109.01903>`_). With --shrink F, predicted booleans keep
this share of what was learned beside what they copy.
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
    for model, one in zip(models, settings):
        undo_shrink(model, one['training'])
    states = [model.state_dict() for model in models]
    mean = {name: sum(s[name] for s in states) / len(states) for name in states[0]}
    size = 2 * sum(weight.numel() for weight in mean.values())
    if size > MAX_BYTES:
        sys.exit(f'the weights take {size:,} bytes, more than {MAX_BYTES:,}')
    models[-1].load_state_dict(mean)
    shrink = {'boolean': args.shrink} if args.shrink < 1 else {}
    for name, factor in shrink.items():
        models[-1].decoder.shrink(factor, name)  # Undone when it is trained further.
    mean = models[-1].state_dict()
    kept = dict(settings[-1])
    stages = [one['training'] for one in settings]
    seen = dict.fromkeys(name for stage in stages for name in stage['databases'])
    kept['training'] = {
        'databases': list(seen),
        'stages': stages,
        'shrink': shrink,
    }
    save_checkpoint(args.out, models[-1], kept, torch.float16)
    loaded, _ = load_checkpoint(args.out)
    error = max(
        float((mean[name] - weight).abs().max() / mean[name].abs().max().clamp(1e-8))
        for name, weight in loaded.state_dict().items()
    )
    print(f'{size:,} bytes of weights, rounded by at most {error:.1e} of the largest')


if __name__ == '__main__':
    main()
