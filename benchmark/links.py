r"""MAP of recommendations beside popularity and past visits.

    python benchmark/links.py --minutes 10 --seeds 0 1 --json links.json

The published ID-GNN has .6232 on driver-circuit-compete; val and test have 27 rows
each, so that gaps of a few points say little. `--without contexts` learns the counts
alone, `--without counts` the contexts alone.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.metrics.link_baselines import recommend_by_counts
from torch_geometric_rfm.train import TrainConfig, fit_links, predict_links
from torch_geometric_rfm.train.recommend import new_recommender

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'
PUBLISHED = {'driver-circuit-compete': {'id_gnn': {'test': 0.6232}}}


def interval(task, rows, prediction, draws=2000):
    r"""Bootstrap of the rows: the 2.5 % and 97.5 % quantiles of the MAP."""
    each = [
        task.score_rows(rows[[i]], prediction[[i]])['map'] for i in range(len(rows))
    ]
    picks = np.random.default_rng(0).integers(0, len(rows), (draws, len(rows)))
    return np.quantile(np.array(each)[picks].mean(axis=1), [0.025, 0.975]).tolist()


def score(task, store, prediction_of):
    out = {}
    for split in ('val', 'test'):
        rows = store.rows_of_split(split)
        prediction = prediction_of(split, rows)
        out[split] = task.evaluate(prediction, split)['map']
        out[f'{split}_interval'] = interval(task, rows, prediction)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--db', default=str(REL_F1))
    parser.add_argument('--task', default='driver-circuit-compete')
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--num_cells', type=int, default=512)
    parser.add_argument('--num_neighbors', type=int, default=20)
    parser.add_argument('--history_steps', type=int, default=300)
    parser.add_argument('--without', choices=['contexts', 'counts'])
    parser.add_argument('--protocol', default='rolling')
    parser.add_argument('--text_encoder', default='hashing')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    sampling = {
        'num_cells': args.num_cells,
        'num_neighbors': args.num_neighbors,
        'own_labels': 0.05,
    }
    predictor = RelationalPredictor(text_encoder=args.text_encoder, **sampling)
    store = predictor.open_task(args.db, args.task)
    task = store.task

    figures = dict(PUBLISHED.get(args.task, {}))
    for name in ('popularity', 'recent_popularity', 'past_links', 'recent_links'):

        def by_counts(split, rows, name=name):
            until = store.visible_until(rows, args.protocol)
            return recommend_by_counts(store, rows, until)[name]

        figures[name] = score(task, store, by_counts)
    for seed in args.seeds:
        predictor = RelationalPredictor(
            text_encoder=args.text_encoder, seed=seed, **sampling
        )
        recommender = new_recommender(predictor.model, store)
        steps = args.history_steps
        if args.without == 'counts':
            steps = 0
            for part in (recommender.pair_mlp, recommender.popularity_mlp):
                torch.nn.init.zeros_(part[-1].weight)
                torch.nn.init.zeros_(part[-1].bias)
                part.requires_grad_(False)
        # One step at a rate of zero keeps what the counts have learnt.
        alone = args.without == 'contexts'
        budget = {'num_steps': 1, 'minutes': None, 'lr': 0.0} if alone else {}
        config = TrainConfig(
            **{'minutes': args.minutes, 'seed': seed, 'protocol': args.protocol}
            | budget
        )
        result = fit_links(recommender, store, config, history_steps=steps, **sampling)

        def by_model(split, rows, recommender=recommender):
            return predict_links(recommender, store, rows, args.protocol, **sampling)[0]

        name = f'recommender, seed {seed}'
        figures[name] = score(task, store, by_model)
        figures[name] |= {'steps': result.steps, 'seconds': round(result.seconds)}
    for name, row in figures.items():
        parts = [
            f'{split} {row[split]:.4f}' for split in ('val', 'test') if split in row
        ]
        if 'test_interval' in row:
            parts.append('[{:.4f}, {:.4f}]'.format(*row['test_interval']))
        print(f'{name:<22}' + '  '.join(parts))
    if args.json is not None:
        content = {'arguments': {k: str(v) for k, v in vars(args).items()}}
        args.json.write_text(
            json.dumps(content | {'figures': figures}, indent=2) + '\n'
        )


if __name__ == '__main__':
    main()
