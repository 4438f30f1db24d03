r"""Seconds of a pretraining step: RelationalMAE beside ordinary masked pretraining.

    python benchmark/mae.py --json mae.json

The same encoder on the same contexts of rel-f1, forward, loss and backward, masks of
the attention built in each step as in training. Ordinary pretraining hides 15 to 30 %
of the cells and embeds all; RelationalMAE hides 50 or 75 %, embeds the others, and
decodes with one block of half the width. Rounds are interleaved, medians; ratios are
medians of the ratios within a round.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmark.model import real_contexts, real_store
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalMAE, RelationalTransformer
from torch_geometric_rfm.transforms import MaskCells

ORDINARY = 'ordinary, 15 to 30 %'
RATES = {ORDINARY: (0.15, 0.3), 'MAE, 50 %': 0.5, 'MAE, 75 %': 0.75}
PRESETS = {
    'small': {},
    'small, 4 layers': {'num_layers': 4},
    'rt_v1': None,
}


def make_encoder(preset):
    torch.manual_seed(0)
    if PRESETS[preset] is None:
        return RelationalTransformer.rt_v1(text_encoder=None)
    return RelationalTransformer.small(**PRESETS[preset])


def seconds_of_step(model, cells, loss_fn):
    start = time.perf_counter()
    loss_fn(model(cells, all_heads=True), cells).backward()
    seconds = time.perf_counter() - start
    model.zero_grad(set_to_none=True)
    return seconds


def measure(preset, cells, rounds):
    r"""Median seconds of each way, and median ratios to ordinary pretraining."""
    encoder = make_encoder(preset)
    mae = RelationalMAE(encoder)
    models = {name: encoder if name == ORDINARY else mae for name in RATES}
    batches = {
        name: MaskCells('uniform', rate=rate)(cells) for name, rate in RATES.items()
    }
    loss_fn = MaskedCellLoss()
    seconds = {name: [] for name in RATES}
    for round_ in range(rounds + 1):
        for name, model in models.items():
            taken = seconds_of_step(model, batches[name], loss_fn)
            if round_ > 0:
                seconds[name].append(taken)
    ratios = {
        name: statistics.median(
            plain / own for plain, own in zip(seconds[ORDINARY], taken)
        )
        for name, taken in seconds.items()
    }
    return {
        name: {'seconds': statistics.median(taken), 'speed_up': ratios[name]}
        for name, taken in seconds.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--models', nargs='+', default=['small', 'small, 4 layers'])
    parser.add_argument('--num_cells', nargs='+', type=int, default=[256, 1024])
    parser.add_argument('--batch_size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    for name in args.models:
        if name not in PRESETS:
            parser.error(f'--models must be of {", ".join(PRESETS)} (got {name})')

    store, lines = real_store(), []
    table = Table(title='Seconds of a step (speed-up over ordinary pretraining)')
    for column in ('model', 'cells', *RATES):
        table.add_column(column, justify='left' if column == 'model' else 'right')
    for num_cells in args.num_cells:
        cells = real_contexts(store, num_cells, args.batch_size)
        for preset in args.models:
            figures = measure(preset, cells, args.rounds)
            lines.append({'model': preset, 'num_cells': num_cells, **figures})
            shown = [
                f'{one["seconds"]:.3f} ({one["speed_up"]:.2f})'
                for one in figures.values()
            ]
            table.add_row(preset, str(num_cells), *shown)
    Console().print(table)
    if args.json is not None:
        args.json.write_text(
            json.dumps({'threads': torch.get_num_threads(), 'lines': lines}, indent=2)
        )


if __name__ == '__main__':
    main()
