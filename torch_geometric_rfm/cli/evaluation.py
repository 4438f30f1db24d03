import time
from typing import Any

from rich.console import Console
from rich.table import Table

from torch_geometric_rfm.data import TaskStore
from torch_geometric_rfm.metrics import evaluate_baselines
from torch_geometric_rfm.predictor import RelationalPredictor


def evaluate_task(
    predictor: RelationalPredictor,
    store: TaskStore,
    db: Any,
    split: str,
    protocol: str,
    progress: Any = None,
) -> dict[str, Any]:
    r"""The scores of a predictor and of the baselines on the same rows."""
    store.task.labels_of_split(split)
    start = time.monotonic()
    prediction = predictor.predict_rows(store, split, protocol, progress)
    seconds = time.monotonic() - start
    return {
        'database': str(db),
        'task': store.task.name,
        'split': split,
        'protocol': protocol,
        'metrics': store.task.evaluate(prediction, split),
        'baselines': evaluate_baselines(store, split, protocol),
        'num_rows': len(prediction),
        'seconds': round(seconds, 2),
        'contexts_per_second': round(len(prediction) / max(seconds, 1e-9), 2),
        'seed': predictor.training.get('seed'),
    }


def print_evaluation(figures: dict[str, Any], console: Console) -> None:
    r"""Prints the scores as a table, the model last."""
    names = list(figures['metrics'])
    table = Table(
        title=f'{figures["task"]}, {figures["split"]} split, {figures["protocol"]} '
        f'protocol, {figures["num_rows"]:,} rows'
    )
    table.add_column('')
    for name in names:
        table.add_column(name, justify='right')
    for baseline, scores in figures['baselines'].items():
        cells = [f'{scores[name]:.4f}' for name in names]
        table.add_row(baseline.replace('_', ' '), *cells)
    scores = [f'{figures["metrics"][name]:.4f}' for name in names]
    table.add_row('Relational Transformer', *scores, style='bold')
    console.print(table)
