r"""Learns a RelBench task from a real database on the CPU, from scratch.

    python examples/demo.py --out runs/demo

trains a small Relational Transformer on rel-f1, task driver-top3 (will a driver
qualify among the first three of a race in the next 30 days?), scores it on the
test split beside baselines on the same rows, and leaves in the folder:

- learning_curve.png   loss and val score over time
- predictions.csv      a probability for every row of the test split
- predictions.png      how good they are
- context_masks.png    one context, and who attends to whom in it
"""

import argparse
from pathlib import Path

from rich.console import Console

from torch_geometric_rfm import ContextLoader, RelationalPredictor
from torch_geometric_rfm.cli.evaluation import evaluate_task, print_evaluation
from torch_geometric_rfm.visualization import (
    plot_attention_masks,
    plot_predictions,
)

REL_F1 = Path(__file__).parent / 'data' / 'rel-f1'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--db', default=str(REL_F1), help='a RelBench folder or Hub id')
    parser.add_argument('--task', default='driver-top3')
    parser.add_argument('--minutes', type=float, default=3.5)
    parser.add_argument('--out', type=Path, default=Path('runs/demo'))
    parser.add_argument('--text-encoder', default=None)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    console = Console()

    # The database, its graph and the store of its cells:
    predictor = RelationalPredictor(text_encoder=args.text_encoder, seed=args.seed)
    console.print(f'Reading {args.db} and embedding its strings ...')
    store = predictor.open_task(args.db, args.task)
    console.print(f'{store.store}')

    # Training, on rows of the train split; the best weights on val are kept:
    console.print(
        f'Training {predictor.model} on task {args.task} for {args.minutes:g} minutes.'
    )
    result = predictor.fit_stores(
        [store], args.out, minutes=args.minutes, seed=args.seed
    )
    console.print(
        f'{result.contexts:,} contexts in {result.seconds:.0f} s '
        f'({result.contexts_per_second:.0f} a second while training)'
    )

    # The test split, which nothing so far has looked at:
    figures = evaluate_task(predictor, store, args.db, 'test', 'rolling')
    print_evaluation(figures, console)
    console.print(
        'AUROC: 0.5 is guessing, 1 is perfect. Each row saw the database up to its '
        'own time,\nand so did the baselines: entity mean is the mean of all earlier '
        'labels of a driver.'
    )

    # Predictions and pictures:
    frame = predictor.predict(args.db, args.task, split='test')
    frame['label'] = store.task.labels_of_split('test')
    frame.to_csv(args.out / 'predictions.csv', index=False)
    plot_predictions(frame, 'binary_classification', args.out / 'predictions.png')
    loader = ContextLoader(
        store, input_nodes='test', batch_size=1, **predictor.sampling
    )
    plot_attention_masks(next(iter(loader)), path=args.out / 'context_masks.png')
    console.print(
        f'Look into {args.out}/: '
        + ', '.join(sorted(path.name for path in args.out.iterdir()))
    )


if __name__ == '__main__':
    main()
