r"""Fine-tuning of the pretrained model of the package beside training from scratch.

    python benchmark/fine_tuning.py examples/data/rel-f1 driver-dnf driver-top3 \
        driver-position --evals 15 --seeds 0 1 --plot docs/_static/fine_tuning.png

Both have the same shape, contexts, batches and steps, leave out as many cells
(FINE_TUNING), and are scored on val after the same steps, the best weights on test. It
says after how many steps the fine-tuned model is as good on val as the other ever gets,
and what it comes to in a fifth of the steps, with a schedule of its own. Runs that
stand in the file of --json are not run again.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import TaskStore
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train.checkpoint import PRETRAINED, write_json
from torch_geometric_rfm.train.evaluation import main_score, score_rows
from torch_geometric_rfm.train.train_config import FINE_TUNING

WAYS = ('scratch', 'fine-tuned', 'fine-tuned briefly')
BRIEF = 5
r"""How many times fewer steps a brief run has."""


def new_predictor(way: str, seed: int) -> RelationalPredictor:
    r"""The pretrained model, or a new one that is like it but for the weights."""
    predictor = RelationalPredictor.from_pretrained()
    if way != 'scratch':
        return predictor
    torch.manual_seed(seed)
    model = RelationalTransformer(**predictor.model.config)
    return RelationalPredictor(model, predictor.text_encoder, **predictor.sampling)


def train(store: TaskStore, way: str, seed: int, args: Any) -> dict[str, Any]:
    r"""The val scores after some steps, and the test score of the best weights."""
    predictor = new_predictor(way, seed)
    val = store.rows_of_split('val')
    share = BRIEF if way == 'fine-tuned briefly' else 1
    num_evals = max(1, args.evals // share)
    result = predictor.fit_stores(
        [store],
        minutes=None,
        num_steps=max(1, args.steps // share),
        num_evals=num_evals,
        patience=num_evals,
        max_val_rows=len(val),
        seed=seed,
        show_progress=False,
        **FINE_TUNING,
    )
    metric = next(iter(result.metrics[store.task.name]))
    curve = [(row['step'], row[f'val_{metric}']) for row in result.history]
    test = store.rows_of_split('test')
    scores = score_rows(predictor.model, store, test, 'rolling', **predictor.sampling)
    return {'curve': curve, 'test': scores[metric], 'metric': metric}


def weights_digest() -> str:
    r"""What tells the weights of the package from others."""
    content = (PRETRAINED / 'model.safetensors').read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def compare(runs: list[dict[str, Any]]) -> dict[str, Any]:
    r"""After how many steps fine-tuned models reach what new ones come to, on the mean
    of the seeds.
    """
    sign = main_score({runs[0]['metric']: 1.0})
    mean = {}
    for way in WAYS:
        curves = [run['curve'] for run in runs if run['way'] == way]
        mean[way] = [
            (points[0][0], sum(score for _, score in points) / len(points))
            for points in zip(*curves)
        ]
    goal = max(sign * score for _, score in mean['scratch'])
    needed = next(step for step, s in mean['scratch'] if sign * s >= goal)
    reached = [step for step, s in mean['fine-tuned'] if sign * s >= goal]
    best = {
        way: sign * max(sign * s for _, s in points) for way, points in mean.items()
    }
    test = {way: [run['test'] for run in runs if run['way'] == way] for way in WAYS}
    return {
        'steps from scratch': needed,
        'steps fine-tuned': reached[0] if reached else None,
        'best val': best,
        'test': test,
    }


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    r"""Val scores against steps, a panel a task, a thin line a seed."""
    tasks = list(dict.fromkeys(run['task'] for run in runs))
    size = (3.6 * len(tasks), 3)
    _, axes = plt.subplots(1, len(tasks), figsize=size, squeeze=False)
    for task, axis in zip(tasks, axes[0]):
        for way, colour in zip(WAYS, ('tab:gray', 'tab:blue', 'tab:orange')):
            for i, run in enumerate(
                run for run in runs if (run['task'], run['way']) == (task, way)
            ):
                label = None if i else way
                axis.plot(*zip(*run['curve']), color=colour, label=label, alpha=0.8)
                axis.set_ylabel(f'val {run["metric"]}')
        axis.set_title(task)
        axis.set_xlabel('step')
    axes[0][0].legend()
    plt.tight_layout()
    plt.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('db')
    parser.add_argument('tasks', nargs='+')
    parser.add_argument('--steps', type=int, default=600)
    parser.add_argument('--evals', type=int, default=20)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    args = parser.parse_args()
    done = []
    if args.json is not None and args.json.exists():
        done = json.loads(args.json.read_text())
    runs = []
    for task in args.tasks:
        store = RelationalPredictor.from_pretrained().open_task(args.db, task)
        for seed in args.seeds:
            for way in WAYS:
                run = {'task': task, 'way': way, 'seed': seed}
                run |= {'db': Path(args.db).name, 'steps': args.steps}
                run |= {'evals': args.evals, 'options': str(FINE_TUNING)}
                run |= {'start': None if way == 'scratch' else weights_digest()}
                found = [one for one in done if run.items() <= one.items()]
                if not found:
                    found = [run | train(store, way, seed, args)]
                    done += found
                    if args.json is not None:
                        write_json(args.json, done)
                runs += found
        figures = compare([run for run in runs if run['task'] == task])
        print(task, json.dumps(figures), flush=True)
    if args.plot is not None:
        plot(runs, args.plot)


if __name__ == '__main__':
    main()
