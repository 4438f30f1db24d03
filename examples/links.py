r"""Links: hidden foreign keys found again, and the circuits of next year recommended.

python examples/links.py --limit 20
"""

import argparse
from itertools import islice
from pathlib import Path

import torch

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import HashingTextEncoder
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedLinkLoss
from torch_geometric_rfm.metrics import evaluate_baselines
from torch_geometric_rfm.nn import LinkDecoder, RelationalTransformer, link_candidates
from torch_geometric_rfm.transforms import MaskCells

REL_F1 = Path(__file__).parent / 'data' / 'rel-f1'


def epochs(loader):
    while True:
        yield from loader


def find_hidden_links(model, store, args):
    r"""Hides a fifth of the foreign keys, and learns to which rows they led."""
    loader = ContextLoader(
        store,
        num_cells=args.num_cells,
        batch_size=16,
        shuffle=True,
        transform=MaskCells('foreign_key', rate=0.2),
    )
    decoder = LinkDecoder(model.channels, model.text_channels)
    parameters = [*model.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    loss_fn = MaskedLinkLoss()
    for cells in islice(epochs(loader), args.limit):
        candidates = link_candidates(cells, within='batch')
        score = decoder(model.encode(cells), cells, candidates)
        loss = loss_fn(score, candidates)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    figures = loss_fn.figures()
    size = candidates.row.numel() / max(candidates.num_links, 1)
    print(
        f'hidden links: {figures["accuracy"]:.1%} found among {size:.0f} rows, mean '
        f'rank {figures["mean_rank"]:.1f}'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--db', default=REL_F1)
    parser.add_argument('--task', default='driver-circuit-compete')
    parser.add_argument('--limit', type=int, default=200, help='steps of each part')
    parser.add_argument('--num_cells', type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = RelationalTransformer.small(text_channels=32)
    predictor = RelationalPredictor(
        model, HashingTextEncoder(channels=32), num_cells=args.num_cells
    )
    store = predictor.open_task(args.db, args.task)

    find_hidden_links(model, store, args)

    predictor.fit_stores(
        [store], num_steps=args.limit, minutes=None, num_evals=4, show_progress=False
    )
    rows = {'model': predictor.evaluate(args.db, args.task)}
    for name, figures in (evaluate_baselines(store, 'test') | rows).items():
        print(f'{name:<20}{figures["map"]:.4f}')
    print(predictor.predict(args.db, args.task, k=5).head(5).to_string(index=False))


if __name__ == '__main__':
    main()
