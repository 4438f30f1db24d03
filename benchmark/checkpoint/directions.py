r"""How many directions the matrices of checkpoints use.

    python benchmark/checkpoint/directions.py runs/first torch_geometric_rfm/pretrained

Of each matrix the participation ratio of its singular values, (sum of s^2)^2 / (sum of
s^4): its rank if all are alike, 1 if one outweighs the others. The mean over the
matrices of each part of the model, beside that of random weights, a line a checkpoint.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import load_checkpoint

PARTS = {
    'encoder': 'encoder.lins',
    'attention in': 'lin_qkv',
    'attention out': 'lin_out',
    'feed-forward': '.w',
}


def participation_ratio(weight: Tensor) -> float:
    r"""How many singular values of a matrix count."""
    energy = torch.linalg.svdvals(weight.detach().double()) ** 2
    return float(energy.sum() ** 2 / (energy**2).sum())


def directions(model: RelationalTransformer) -> dict[str, float]:
    r"""The mean over the matrices of each part; of zeros there is none."""
    matrices = {
        name: weight
        for name, weight in model.named_parameters()
        if weight.dim() == 2 and min(weight.shape) > 1 and weight.any()
    }
    found = {
        part: [participation_ratio(w) for name, w in matrices.items() if key in name]
        for part, key in PARTS.items()
    }
    return {part: float(np.mean(ratios)) for part, ratios in found.items() if ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('folders', type=Path, nargs='+')
    args = parser.parse_args()
    models = {str(folder): load_checkpoint(folder)[0] for folder in args.folders}
    torch.manual_seed(0)
    shape = next(iter(models.values())).config
    models['random'] = RelationalTransformer(**shape)
    for name, model in models.items():
        ratios = [f'{part} {ratio:.1f}' for part, ratio in directions(model).items()]
        print(f'{name}: {", ".join(ratios)}')


if __name__ == '__main__':
    main()
