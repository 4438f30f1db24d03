r"""What LightGBM on relational aggregates looks at: shares of the gain of its trees.

    python benchmark/relbench/importance.py --db examples/data/rel-f1 \
        --task driver-dnf driver-top3 driver-position

They are those of the first model that it keeps, for its best features and summed by the
path that features come from.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmark.relbench.inputs import open_inputs
from benchmark.relbench.models.lightgbm_tables import LightGBMRelational


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--db', required=True, help='a RelBench folder or Hub id')
    parser.add_argument('--task', required=True, nargs='+')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--most', type=int, default=12, help='features to print')
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


if __name__ == '__main__':
    main()
