r"""Predicts on a real database that the pretrained model has never seen.

    python examples/demo.py --out runs/demo

asks the model in the package about rel-f1, task driver-top3 (will a driver qualify
among the first three of a race in the next 30 days?) without training on a single row
(zero-shot), then fine-tunes it for a minute, scores both on the test split beside
baselines on the same rows, and leaves in the folder:

- learning_curve.png   loss and val score while fine-tuning
- predictions.csv      a probability for every row of the test split, of both
- predictions.png      how good the fine-tuned ones are
- context_masks.png    one context, and who attends to whom in it
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import track

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
    parser.add_argument('--minutes', type=float, default=1.0, help='of fine-tuning')
    parser.add_argument('--out', type=Path, default=Path('runs/demo'))
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    console = Console()

    # The database, its graph and the store of its cells:
    predictor = RelationalPredictor.from_pretrained()
    console.print(f'Reading {args.db} ...')
    store = predictor.open_task(args.db, args.task)
    console.print(f'{store.store}')

    # Zero-shot. What the model knows of the task it reads in each context: labels of
    # the same driver that were known by then, and the rows around.
    def progress(batches):
        return track(batches, 'Predicting test rows', len(batches), console=console)

    figures = evaluate_task(predictor, store, args.db, 'test', 'rolling', progress)
    before = {'Zero-shot': figures['metrics']}
    zero_shot = predictor.predict(args.db, args.task, split='test')
    print_evaluation(figures, console, 'Zero-shot')

    # Fine-tuning, on rows of the train split; the best weights on val are kept:
    console.print(f'Fine-tuning {predictor.model}, minutes: {args.minutes:g}')
    result = predictor.fit_stores(
        [store], args.out, minutes=args.minutes, seed=args.seed
    )
    console.print(
        f'{result.contexts:,} contexts in {result.seconds:.0f} s '
        f'({result.contexts_per_second:.0f} a second while training)'
    )

    # The test split, which nothing so far has learned from:
    figures = evaluate_task(predictor, store, args.db, 'test', 'rolling', progress)
    print_evaluation(figures, console, 'Fine-tuned', before)
    console.print(
        'AUROC: 0.5 is guessing, 1 is perfect. Each row saw the database up to its '
        'own time,\nand so did the baselines: entity mean is the mean of all earlier '
        'labels of a driver.'
    )

    # Predictions and pictures:
    frame = predictor.predict(args.db, args.task, split='test')
    frame['zero_shot'] = zero_shot['prediction']
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
