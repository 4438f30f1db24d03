r"""Pretrains a masked autoencoder of cells, and uses the rows that its encoder embeds
as features of an ordinary heterogeneous GNN of PyG.

    python examples/masked_autoencoder.py --limit 200

The encoder sees the third of the cells that is left, and is then frozen. The GNN learns
from the embedded rows of each seed's context, on the nodes of its sampled subgraph.
"""

import argparse
from itertools import islice
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.nn import HeteroConv, Linear, SAGEConv

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import load_database, to_hetero
from torch_geometric_rfm.loader import ContextLoader, TemporalNeighborLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalMAE, RelationalTransformer, to_x_dict
from torch_geometric_rfm.transforms import MaskCells

REL_F1 = Path(__file__).parent / 'data' / 'rel-f1'


def epochs(loader):
    while True:  # Each epoch hides other cells.
        yield from loader


def pretrain(model, loader, num_steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_fn = MaskedCellLoss()
    for cells in islice(epochs(loader), num_steps):
        loss = loss_fn(model(cells, all_heads=True), cells)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f'reconstruction loss {loss.item():.3f} after {num_steps} steps')


class GNN(torch.nn.Module):
    def __init__(self, edge_types, channels):
        super().__init__()
        self.conv = HeteroConv({t: SAGEConv(channels, channels) for t in edge_types})
        self.lin = Linear(2 * channels, 1)

    def forward(self, x_dict, batch, table):
        out = self.conv(x_dict, batch.edge_index_dict)
        h = torch.cat([x_dict[table], out[table].relu()], dim=1)
        return self.lin(h[: batch[table].batch_size]).view(-1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--limit', type=int, default=200, help='steps of either part')
    parser.add_argument('--channels', type=int, default=32)
    args = parser.parse_args()
    data, _ = to_hetero(load_database(REL_F1))
    predictor = RelationalPredictor(text_encoder='hashing')
    store = predictor.open_task(REL_F1, 'driver-dnf')
    table = store.task.entity_table

    torch.manual_seed(0)
    encoder = RelationalTransformer.small(channels=args.channels, num_layers=4)
    options = {'num_cells': 128, 'batch_size': 32}
    transform = MaskCells('uniform', rate=(0.5, 0.75))
    loader = ContextLoader(store, shuffle=True, transform=transform, **options)
    pretrain(RelationalMAE(encoder), loader, args.limit)

    model = GNN(data.edge_types, args.channels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for split in ('train', 'val'):
        rows = torch.from_numpy(store.rows_of_split(split))
        rows = rows[torch.randperm(rows.numel())]
        entity = torch.from_numpy(store.task.frame['entity'].to_numpy())[rows]
        time = torch.from_numpy(store.arrays.time)[rows]
        graphs = TemporalNeighborLoader(
            data, [16, 16], (table, entity), time, time_attr='time', batch_size=32
        )
        contexts = ContextLoader(store, input_nodes=rows, **options)
        losses = []  # Both loaders have the same seeds in the same order.
        for batch, cells in islice(zip(graphs, contexts), args.limit):
            with torch.no_grad():
                x_dict = to_x_dict(encoder.encode_rows(cells), batch)
            out = model(x_dict, batch, table)
            label = store.target[rows][cells.input_id]
            losses.append(binary_cross_entropy_with_logits(out, label))
            if split == 'train':
                optimizer.zero_grad()
                losses[-1].backward()
                optimizer.step()
        half = losses[len(losses) // 2 :]
        print(f'{split}: cross entropy {torch.stack(half).mean().item():.3f}')


if __name__ == '__main__':
    main()
