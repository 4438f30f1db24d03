r"""Adds RelationalAttention to RelBench's own graph neural network, and trains it with
and without, from the same seeds and over the same batches.

    python examples/rdl_gnn_with_relational_attention.py --limit 30 --seeds 0 1 2

The encoders of RelBench's pipeline give each table [rows, columns, channels] features.
Before they are mixed to one vector a row, the cells of a subgraph attend to those of
their column, their row and its parents, and their row's children. Data, protocol and
the network without attention are those of rdl_gnn.py, whose options hold here, too.
"""

import json
import time

from rdl_gnn import SHOWN, Model, get_loaders, get_parser, load_inputs, train
from rich.console import Console
from rich.table import Table
from torch_geometric.seed import seed_everything

from torch_geometric_rfm.nn import HeteroRelationalBlock


class ModelWithAttention(Model):
    def __init__(self, *args, channels, attentions, **kwargs):
        super().__init__(*args, channels=channels, **kwargs)
        self.attention = HeteroRelationalBlock(
            channels, heads=4, ff_channels=2 * channels, attentions=attentions
        )

    def encode(self, batch):
        frames = self.encoder.encoders
        x_dict = {
            name: frames[name].encoder(tf)[0] for name, tf in batch.tf_dict.items()
        }
        x_dict = self.attention(x_dict, batch.edge_index_dict, batch.batch_dict)
        return {
            name: frames[name].decoder(frames[name].backbone(x.flatten(1)))
            for name, x in x_dict.items()
        }


def main():
    parser = get_parser(__doc__.split('\n\n')[0])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--attentions', nargs='+', default=['column', 'feature', 'neighbor']
    )
    parser.set_defaults(epochs=3, num_neighbors=8)
    args = parser.parse_args()
    inputs = load_inputs(args)

    runs = []
    for seed in args.seeds:
        for name in ('GraphSAGE', 'with attention'):
            print(f'{name}, seed {seed}')
            # The shared parameters of both start from the same draws.
            seed_everything(seed)
            options = {
                'channels': args.channels,
                'num_layers': args.num_layers,
                'frame_kwargs': {'channels': args.channels, 'num_layers': 4},
            }
            inner = (inputs.data, inputs.col_stats, inputs.task.entity_table)
            if name == 'GraphSAGE':
                model = Model(*inner, **options)
            else:
                model = ModelWithAttention(
                    *inner, attentions=args.attentions, **options
                )
            loaders, labels = get_loaders(inputs, args, seed)
            start = time.perf_counter()
            auroc = train(model, inputs, loaders, labels, args)
            run = {'model': name, 'seed': seed, 'metrics': auroc}
            runs.append(run | {'seconds': time.perf_counter() - start})

    table = Table(title=f'{args.task}, AUROC, rolling protocol')
    for column in ('', 'seed', 'val', 'test', 'seconds'):
        table.add_column(column, justify='right' if column else 'left')
    for name in SHOWN:
        scores = [inputs.baselines[split][name]['roc_auc'] for split in ('val', 'test')]
        table.add_row(name, '', *(f'{score:.4f}' for score in scores), '')
    for run in sorted(runs, key=lambda run: run['model']):
        scores = [f'{run["metrics"][split]:.4f}' for split in ('val', 'test')]
        table.add_row(run['model'], str(run['seed']), *scores, f'{run["seconds"]:.0f}')
    Console().print(table)
    if args.json is not None:
        figures = {'task': args.task, 'protocol': 'rolling', 'runs': runs}
        args.json.write_text(json.dumps(figures, indent=2))


if __name__ == '__main__':
    main()
