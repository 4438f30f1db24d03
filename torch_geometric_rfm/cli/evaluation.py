import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from torch_geometric_rfm.data import TaskStore
from torch_geometric_rfm.metrics import evaluate_baselines
from torch_geometric_rfm.predictor import RelationalPredictor
from torch_geometric_rfm.train.multilabel import mean_figures


def split_to_score(stores: list[TaskStore], console: Console) -> str:
    r"""The test split; if it cannot be scored, val, and says why."""
    try:
        check_labels(stores, 'test')
    except ValueError as error:
        check_labels(stores, 'val')
        reason = escape(str(error))
        console.print(f'{reason}: the scores will be of val, which chooses the weights')
        return 'val'
    return 'test'


def check_labels(stores: list[TaskStore], split: str) -> None:
    r"""Raises a :obj:`ValueError` if tasks cannot be scored on a split."""
    for store in stores:
        store.task.labels_of_split(split)


def evaluate_task(
    predictor: RelationalPredictor,
    store: TaskStore,
    db: Any,
    split: str,
    protocol: str,
    progress: Any = None,
    num_contexts: int = 1,
) -> dict[str, Any]:
    r"""The scores of a predictor and of the baselines on the same rows."""
    start = time.monotonic()
    prediction = predictor.predict_rows(
        store, split, protocol, progress, num_contexts=num_contexts
    )
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


def evaluate_tasks(
    predictor: RelationalPredictor,
    stores: list[TaskStore],
    db: Any,
    split: str,
    *args: Any,
) -> dict[str, Any]:
    r"""The scores of a task, or their means over the labels of a multilabel one, with
    those of each label; see :func:`evaluate_task`.
    """
    check_labels(stores, split)
    found = [evaluate_task(predictor, store, db, split, *args) for store in stores]
    if stores[0].task.multilabel is None:
        return found[0]
    labels = {store.task.target_col: one for store, one in zip(stores, found)}
    seconds = sum(one['seconds'] for one in found)
    rows = sum(one['num_rows'] for one in found)
    names = list(found[0]['baselines'])
    return found[0] | {
        'task': stores[0].task.multilabel,
        'metrics': mean_figures([one['metrics'] for one in found]),
        'baselines': {
            name: mean_figures([one['baselines'][name] for one in found])
            for name in names
        },
        'labels': {label: one['metrics'] for label, one in labels.items()},
        'seconds': round(seconds, 2),
        'contexts_per_second': round(rows / max(seconds, 1e-9), 2),
    }


def print_evaluation(
    figures: dict[str, Any],
    console: Console,
    name: str = 'Relational Transformer',
    others: dict[str, dict[str, float]] | None = None,
) -> None:
    r"""Prints the scores as a table, the model last.

    Args:
        figures: What :func:`evaluate_task` returns.
        console: Where it is printed.
        name: What the model is called.
        others: Scores of further models on the same rows.
    """
    names = list(figures['metrics'])
    table = Table(
        title=f'{figures["task"]}, {figures["split"]} split, {figures["protocol"]} '
        f'protocol, {figures["num_rows"]:,} rows'
    )
    table.add_column('')
    for metric in names:
        table.add_column(metric, justify='right')
    rows = {k.replace('_', ' '): v for k, v in figures['baselines'].items()}
    for title, scores in (rows | (others or {}) | {name: figures['metrics']}).items():
        style = None if title in rows else 'bold'
        table.add_row(title, *(f'{scores[k]:.4f}' for k in names), style=style)
    console.print(table)
    for label, scores in figures.get('labels', {}).items():
        shown = ', '.join(f'{k} {v:.4f}' for k, v in scores.items())
        console.print(f'{escape(label)}: {shown}')
