r"""Trains RelBench's own graph neural network on a RelBench task, from scratch and on
the CPU, over subgraphs of TemporalNeighborLoader: no pyg-lib, no torch-sparse.

    python examples/rdl_gnn.py --epochs 5

Encoders and GraphSAGE are RelBench's (Robinson et al., https://arxiv.org/abs/2407.20060),
and rel-f1, task driver-dnf, is the default. The protocol is rolling: the database is
whole, and each row sees what has a time up to its own. Open text is embedded by
hashing its words; categories are learned.
"""

import argparse
import copy
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from relbench.modeling import nn as rdl
from rich.progress import track
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor
from torch_frame.data.stats import StatType
from torch_frame.nn import TimestampEncoder
from torch_frame.typing import NAStrategy
from torch_geometric.data import HeteroData
from torch_geometric.nn import MLP
from torch_geometric.seed import seed_everything

from torch_geometric_rfm.data import (
    CellStore,
    CellType,
    HashingTextEncoder,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.loader import TemporalNeighborLoader
from torch_geometric_rfm.metrics import evaluate_baselines
from torch_geometric_rfm.sampler import TemporalNeighborSampler

REL_F1 = Path(__file__).parent / 'data' / 'rel-f1'
SHOWN = ('global_mean', 'entity_mean_train', 'entity_mean', 'smoothed_labels')


def embed_text(data, col_stats, encoder):
    r"""Makes embedding columns of text columns, which to_hetero keeps as indices."""
    for name in data.node_types:
        tf, stats = data[name].tf, col_stats[name]
        kinds = data[name].cell_types
        texts = [column for column, kind in kinds.items() if kind == 'text']
        if not texts:
            continue
        names = tf.col_names_dict[stype.categorical]
        codes = tf.feat_dict[stype.categorical]
        vectors = []
        for column in texts:
            vocabulary = encoder.encode(stats[column][StatType.COUNT][0])
            # A missing text has the code -1, hence the last row: zeros.
            table = torch.cat([vocabulary, vocabulary.new_zeros(1, encoder.channels)])
            vectors.append(table[codes[:, names.index(column)]])
            stats[column] = {StatType.EMB_DIM: encoder.channels}
        features, columns = dict(tf.feat_dict), dict(tf.col_names_dict)
        keep = [i for i, column in enumerate(names) if column not in texts]
        del features[stype.categorical], columns[stype.categorical]
        if keep:
            features[stype.categorical] = codes[:, keep]
            columns[stype.categorical] = [names[i] for i in keep]
        features[stype.embedding] = MultiEmbeddingTensor(
            num_rows=tf.num_rows,
            num_cols=len(texts),
            values=torch.cat(vectors, dim=1),  # [rows, texts * channels]
            offset=torch.arange(len(texts) + 1) * encoder.channels,
        )
        columns[stype.embedding] = texts
        data[name].tf = TensorFrame(features, columns)


class Model(torch.nn.Module):
    def __init__(
        self, data, col_stats, entity_table, channels, num_layers, frame_kwargs=None
    ):
        super().__init__()
        encoders = dict(rdl._DEFAULT_STYPE_ENCODER_CLS_KWARGS)
        encoders[stype.timestamp] = (
            TimestampEncoder,
            {'na_strategy': NAStrategy.MEDIAN_TIMESTAMP},
        )
        self.encoder = rdl.HeteroEncoder(
            channels,
            {name: data[name].tf.col_names_dict for name in data.node_types},
            col_stats,
            torch_frame_model_kwargs=frame_kwargs,
            default_stype_encoder_cls_kwargs=encoders,
        )
        dated = [name for name in data.node_types if 'time' in data[name]]
        self.temporal_encoder = rdl.HeteroTemporalEncoder(dated, channels)
        self.gnn = rdl.HeteroGraphSAGE(
            data.node_types, data.edge_types, channels, num_layers=num_layers
        )
        self.head = MLP([channels, 1], norm=None)
        self.entity_table = entity_table

    def encode(self, batch):
        return self.encoder(batch.tf_dict)

    def forward(self, batch):
        entity = batch[self.entity_table]
        x_dict = self.encode(batch)
        age_dict = self.temporal_encoder(
            entity.seed_time, batch.time_dict, batch.batch_dict
        )
        for name, age in age_dict.items():
            x_dict[name] = x_dict[name] + age
        x_dict = self.gnn(x_dict, batch.edge_index_dict)
        return self.head(x_dict[self.entity_table][: entity.batch_size]).view(-1)


@torch.no_grad()
def predict(model, loader):
    model.eval()
    loader.set_epoch(0)  # The same draws every time.
    return torch.cat([model(batch).sigmoid() for batch in loader]).double().numpy()


def get_parser(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--db', default=str(REL_F1), help='a RelBench folder or Hub id')
    parser.add_argument('--task', default='driver-dnf')
    parser.add_argument('--epochs', type=int, default=5)
    parser.add_argument('--limit', type=int, help='training batches an epoch')
    parser.add_argument('--batch_size', type=int, default=256)
    parser.add_argument('--channels', type=int, default=64)
    parser.add_argument('--num_layers', type=int, default=2)
    parser.add_argument(
        '--num_neighbors', type=int, default=16, help='of the first hop'
    )
    parser.add_argument('--temporal_strategy', default='uniform')
    parser.add_argument('--lr', type=float, default=2e-3)
    parser.add_argument('--num_workers', type=int, default=0)
    parser.add_argument('--json', type=Path, help='where to write the figures')
    return parser


@dataclass
class Inputs:
    data: HeteroData
    col_stats: dict
    task: Task
    baselines: dict


def load_inputs(args):
    r"""The database, its graph, and what the labels alone would predict."""
    dataset = load_dataset(args.db)
    db = load_database(dataset)
    task = Task.from_relbench(load_task(dataset, args.task), db)
    if task.cell_type != CellType.BOOLEAN:
        raise SystemExit(f'--task must be a binary classification (got {args.task})')
    hidden = {}
    for table, column in task.hidden_columns:
        hidden.setdefault(table, {})[column] = None
    data, col_stats = to_hetero(db, hidden, cutoff=dataset.val_timestamp)
    encoder = HashingTextEncoder(channels=64)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=encoder, cutoff=dataset.val_timestamp
    ).with_task(task)
    baselines = {
        split: evaluate_baselines(store, split, 'rolling') for split in ('val', 'test')
    }
    embed_text(data, col_stats, encoder)
    print(f'{args.task}: {data.num_nodes:,} rows, {data.num_edges:,} edges')
    return Inputs(data, col_stats, task, baselines)


def get_loaders(inputs, args, seed):
    r"""One loader a split, all over one index of the edges, and the labels."""
    data, task = inputs.data, inputs.task
    sampler = TemporalNeighborSampler(
        data,
        num_neighbors=[args.num_neighbors // 2**i for i in range(args.num_layers)],
        temporal_strategy=args.temporal_strategy,
        time_attr='time',
        seed=seed,
    )
    loaders, labels = {}, {}
    for split, frame in task.frame.groupby('split', sort=False):
        frame = frame[frame['label'].notna()] if split == 'train' else frame
        labels[split] = torch.tensor(frame['label'].to_numpy(), dtype=torch.float)
        seconds = frame['time'].to_numpy().astype('datetime64[s]').astype(np.int64)
        loaders[split] = TemporalNeighborLoader(
            data,
            None,
            input_nodes=(task.entity_table, torch.tensor(frame['entity'].to_numpy())),
            input_time=torch.from_numpy(seconds),
            neighbor_sampler=sampler,
            batch_size=args.batch_size,
            shuffle=split == 'train',
            num_workers=args.num_workers,
            seed=seed,
        )
    return loaders, labels


def train(model, inputs, loaders, labels, args):
    r"""Trains on rows of the train split and scores both others with the weights
    that are best on val.
    """
    task = inputs.task
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    best, best_state, start = -1.0, None, time.perf_counter()
    for epoch in range(1, args.epochs + 1):
        model.train()
        total = count = 0
        steps = min(args.limit or len(loaders['train']), len(loaders['train']))
        batches = itertools.islice(loaders['train'], steps)
        for batch in track(batches, f'epoch {epoch}', total=steps, transient=True):
            target = labels['train'][batch[task.entity_table].input_id]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(batch), target
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(target)
            count += len(target)
        score = task.evaluate(predict(model, loaders['val']), 'val')['roc_auc']
        if score > best:
            best, best_state = score, copy.deepcopy(model.state_dict())
        print(
            f'epoch {epoch}: loss {total / count:.4f}, val AUROC '
            f'{score:.4f}, {time.perf_counter() - start:.0f} s'
        )
    model.load_state_dict(best_state)
    return {
        split: task.evaluate(predict(model, loaders[split]), split)['roc_auc']
        for split in ('val', 'test')
    }


def main():
    parser = get_parser(__doc__.split('\n\n')[0])
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    inputs = load_inputs(args)
    seed_everything(args.seed)
    loaders, labels = get_loaders(inputs, args, args.seed)
    model = Model(
        inputs.data,
        inputs.col_stats,
        inputs.task.entity_table,
        args.channels,
        args.num_layers,
    )
    start = time.perf_counter()
    auroc = train(model, inputs, loaders, labels, args)

    # Both splits beside the baselines on the same rows:
    print(f'{"AUROC":<20}{"val":>8}{"test":>8}')
    for name in SHOWN:
        row = [inputs.baselines[split][name]['roc_auc'] for split in ('val', 'test')]
        print(f'{name:<20}{row[0]:>8.4f}{row[1]:>8.4f}')
    print(f'{"GraphSAGE":<20}{auroc["val"]:>8.4f}{auroc["test"]:>8.4f}')
    if args.json is not None:
        figures = {'task': args.task, 'protocol': 'rolling', 'metrics': auroc}
        figures |= {'baselines': inputs.baselines}
        figures |= {'seconds': time.perf_counter() - start}
        args.json.write_text(json.dumps(figures, indent=2))


if __name__ == '__main__':
    main()
