r"""What each strategy of MaskCells hides, and a model pretrained with it a few steps.

    python examples/masking_strategies.py --limit 20

Losses of different strategies are of different cells: they say how hard one is.
"""

import argparse
from collections import Counter
from itertools import islice
from pathlib import Path

import torch

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
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.transforms import MaskCells

REL_F1 = Path(__file__).parent / 'data' / 'rel-f1'
BERT = (0.8, 0.1, 0.1)
NAMES = ['target', 'uniform', 'column', 'row', 'neighborhood', 'foreign_key']
TRANSFORMS = [
    *map(MaskCells, NAMES),
    MaskCells('uniform', corruption=BERT),
    MaskCells({'column': 2, 'row': 1, 'neighborhood': 1}, corruption=BERT),
]


def load_store(db, name):
    dataset = load_dataset(db)
    database = load_database(dataset)
    task = Task.from_relbench(load_task(dataset, name), database)
    cut = dataset.val_timestamp
    data, stats = to_hetero(database, cutoff=cut)
    encoder = HashingTextEncoder(channels=32)
    store = CellStore.from_hetero(data, stats, text_encoder=encoder, cutoff=cut)
    return store.with_task(task)


def pretrain(store, transform, args):
    loader = ContextLoader(
        store,
        num_cells=args.num_cells,
        batch_size=16,
        shuffle=True,
        transform=transform,
    )
    torch.manual_seed(0)
    model = RelationalTransformer.small(channels=32, heads=2, text_channels=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_fn = MaskedCellLoss()
    chosen, present = Counter(), Counter()
    for cells in islice(loader, args.limit):
        loss = loss_fn(model(cells, all_heads=True), cells)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        table = cells.row_table[cells.row]
        asked = cells.predict_mask.clone()
        asked[cells.ptr[:-1]] = False  # The labels, which are always hidden.
        chosen.update(table[asked].tolist())
        present.update(table.tolist())
        moved = cells.get('fkey_target_type', table[:0]).numel()
        chosen['links'] += moved
        present['links'] += cells.fkey_type.numel() + moved
    shares = {key: chosen[key] / present[key] for key in present}
    return shares, float(loss.detach()), loss_fn


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--db', default=REL_F1)
    parser.add_argument('--limit', type=int, default=20, help='steps')
    parser.add_argument('--num_cells', type=int, default=128)
    args = parser.parse_args()
    store = load_store(args.db, 'driver-dnf')
    for transform in TRANSFORMS:
        shares, loss, loss_fn = pretrain(store, transform, args)
        print(f'{transform}: last loss {loss:.3f}')
        for i, table in enumerate([*store.table_names, 'links']):
            share = shares.get('links' if table == 'links' else i)
            if share is not None:
                print(f'    {table:<24}{share:>7.1%}')
        hardest = sorted(loss_fn.column_figures().items(), key=lambda item: -item[1])
        print('    hardest: ' + ', '.join(phrase for phrase, _ in hardest[:3]))


if __name__ == '__main__':
    main()
