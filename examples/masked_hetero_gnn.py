r"""Hides numbers of a database's tables and lets an ordinary heterogeneous GNN of PyG
fill them in from the rows around them: MaskCells as a transform of HeteroData.

    python examples/masked_hetero_gnn.py --limit 60

One number in ten is held out by a first MaskCells; each step hides more and learns from
these. Rows see later ones, as in filling gaps, and not as in a forecast.
"""

import argparse
from pathlib import Path

import torch
from torch_frame import stype
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, Linear, SAGEConv

from torch_geometric_rfm.data import load_database, to_hetero
from torch_geometric_rfm.transforms import MaskCells

REL_F1 = Path(__file__).parent / 'data' / 'rel-f1'


def number_graph(db):
    # The graph of a database with its numbers, z-scored, as x.
    source, _ = to_hetero(load_database(db))
    data = HeteroData()
    for name in source.node_types:
        tf = source[name].tf
        data[name].num_nodes = tf.num_rows
        if stype.numerical in tf.feat_dict:
            x = tf.feat_dict[stype.numerical].double()
            known = ~x.isnan()
            x = x - x.nansum(0) / known.sum(0)
            std = (x**2).nansum(0).div(known.sum(0)).sqrt()
            data[name].x = (x / std.clamp(min=1e-9)).float()
    for edge_type in source.edge_types:
        data[edge_type].edge_index = source[edge_type].edge_index
    return data


class Filler(torch.nn.Module):
    # Two layers of GraphSAGE, and one output a number.
    def __init__(self, data, channels):
        super().__init__()
        self.widths = {name: x.size(1) for name, x in data.collect('x').items()}
        widths = self.widths.items()
        inputs = {name: Linear(2 * width, channels) for name, width in widths}
        self.inputs = torch.nn.ModuleDict(inputs)
        self.empty = torch.nn.Embedding(len(data.node_types), channels)
        self.convs = torch.nn.ModuleList(
            HeteroConv({t: SAGEConv(channels, channels) for t in data.edge_types})
            for _ in range(2)
        )
        outputs = {name: Linear(channels, width) for name, width in widths}
        self.outputs = torch.nn.ModuleDict(outputs)

    def forward(self, data):
        h = {}
        for i, name in enumerate(data.node_types):
            h[name] = self.empty.weight[i].expand(data[name].num_nodes, -1)
            if name in self.widths:
                shown = ~data[name].mask & ~data[name].x.isnan()
                x = torch.cat([data[name].x.nan_to_num(), shown.float()], dim=1)
                h[name] = h[name] + self.inputs[name](x)
        for conv in self.convs:
            update = conv({k: v.relu() for k, v in h.items()}, data.edge_index_dict)
            h = {name: h[name] + update.get(name, 0.0) for name in h}
        return {name: self.outputs[name](h[name]) for name in self.widths}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--db', default=REL_F1)
    parser.add_argument('--limit', type=int, default=60, help='steps')
    args = parser.parse_args()
    torch.manual_seed(0)
    held = MaskCells('uniform', rate=0.1, seed=1)(number_graph(args.db))
    model = Filler(held, channels=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    transform = MaskCells('column')
    for held.epoch in range(args.limit):
        data = transform(held)
        errors = []
        for name, out in model(data).items():
            chosen = data[name].mask & ~held[name].mask
            errors.append((out - data[name].target)[chosen].square())
        loss = torch.cat(errors).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f'{"variance explained of":<34}{"numbers":>8}')
    for name, out in model(held).items():
        truth, out = (x[held[name].mask] for x in (held[name].target, out))
        score = 1 - (out - truth).square().mean() / truth.var(correction=0)
        print(f'{name:<26}{score.item():>8.3f}{truth.numel():>8,}')


if __name__ == '__main__':
    main()
