r"""What LightGBM on relational aggregates looks at: shares of the gain of its trees.

    python benchmark/relbench/importance.py --db examples/data/rel-f1 \
        --task driver-dnf driver-top3 driver-position

They are those of the first model that it keeps, for its best features and summed by the
path that features come from. With ``--without`` it is fitted once more without features
whose names begin so, and the scores of both are printed:

    python benchmark/relbench/importance.py --db DATA/atp-tennis \
        --task player-semifinal --without 'day of the year' year 'all labels'
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmark.relbench.inputs import SCORED, Inputs, open_inputs
from benchmark.relbench.metrics import MAIN, score
from benchmark.relbench.models.lightgbm_tables import LightGBMRelational


class WithoutSome(LightGBMRelational):
    r"""The same without features whose names begin in some ways."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        super().__init__()
        self.prefixes = prefixes

    def _features(
        self, inputs: Inputs, rows: np.ndarray, until: np.ndarray
    ) -> pd.DataFrame:
        table = super()._features(inputs, rows, until)
        kept = [name for name in table if not str(name).startswith(self.prefixes)]
        return table[kept]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--db', required=True, help='a RelBench folder or Hub id')
    parser.add_argument('--task', required=True, nargs='+')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--most', type=int, default=12, help='features to print')
    parser.add_argument('--without', nargs='*', default=[], metavar='PREFIX')
    args = parser.parse_args(arguments)
    for task in args.task:
        inputs = open_inputs(args.db, task)
        model = LightGBMRelational()
        model.fit(inputs, args.seed, 10.0)
        rows = inputs.rows('val')
        names = model.features(inputs, rows, inputs.visible_until(rows, 'rolling'))
        gain = model.boosting.boosters[0].feature_importance('gain')
        share = dict(zip(names.columns, gain / gain.sum()))
        paths: Counter[str] = Counter()
        for name, value in share.items():
            paths[name.split(':')[0]] += value
        print(f'{task}, by path:')
        for path, value in paths.most_common(args.most):
            print(f'  {value:6.1%}  {path}')
        print(f'{task}, by feature:')
        best = sorted(share, key=lambda name: -share[name])[: args.most]
        for name in best:
            print(f'  {share[name]:6.1%}  {name}')
        if not args.without:
            continue
        less = WithoutSome(tuple(args.without))
        less.fit(inputs, args.seed, 10.0)
        for what, fitted in (('all', model), (f'without {args.without}', less)):
            scores = ', '.join(
                f'{split} {score_of(fitted, inputs, split):.4f}' for split in SCORED
            )
            print(f'{task}, {what}: {fitted.settings["num_features"]}, {scores}')


def score_of(model: LightGBMRelational, inputs: Inputs, split: str) -> float:
    r"""The main metric of a model, under the rolling protocol."""
    prediction = model.predict(inputs, split, 'rolling')
    figures = score(inputs.kind, inputs.truth(split), prediction, inputs.train_std)
    return figures[MAIN[inputs.kind]]


if __name__ == '__main__':
    main()
