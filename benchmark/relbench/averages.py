r"""Predictions of several runs that are averaged, and their scores."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.relbench.metrics import MAIN, score
from benchmark.relbench.results import load_predictions

Lines = list[dict[str, Any]]
Floats = np.ndarray


def averaged_predictions(
    lines: Lines, folder: Path, split: str
) -> tuple[Floats, Floats] | None:
    r"""Labels and the mean prediction of runs of one task and protocol, whole numbers
    (of halves the even one) where all runs predict counts; :obj:`None` where
    predictions are not at hand.

    Args:
        lines: A line a run.
        folder: Where their predictions are.
        split: The split.

    Raises:
        ValueError: If they are of other labels than each other.
    """
    found = [load_predictions(line, folder) for line in lines]
    known = [one[split] for one in found if one is not None]
    if len(known) < len(lines):
        return None
    if any(not np.array_equal(known[0][0], one[0]) for one in known):
        names = ' and '.join(dict.fromkeys(line['model'] for line in lines))
        raise ValueError(
            f'runs of {names} have other labels for {split} of '
            f"'{lines[0]['task']}'; run the task again into a new results file"
        )
    predictions = np.stack([one[1] for one in known])
    mean = predictions.mean(axis=0)
    is_count = lines[0]['kind'] == 'regression'
    is_count = is_count and bool((predictions == np.round(predictions)).all())
    return known[0][0], np.round(mean) if is_count else mean


def averaged_score(lines: Lines, folder: Path, split: str = 'test') -> float | None:
    r"""The score of the mean prediction of the seeds of a model on a task.

    Args:
        lines: A line a seed, of one protocol.
        folder: Where their predictions are.
        split: The split to score.

    Returns:
        The metric that tables go by; :obj:`None` of a single seed, of recommendations,
        whose predictions have no mean, or where predictions are not at hand.
    """
    kind = lines[0]['kind']
    if len(lines) < 2 or kind == 'recommendation':
        return None
    found = averaged_predictions(lines, folder, split)
    if found is None:
        return None
    return score(kind, *found, lines[0]['train_std'])[MAIN[kind]]
