r"""Scores of predictions that are averaged over the seeds of a model."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.relbench.metrics import MAIN, score
from benchmark.relbench.results import load_predictions

Lines = list[dict[str, Any]]


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
    found = [load_predictions(line, folder) for line in lines]
    known = [one[split] for one in found if one is not None]
    if len(known) < len(lines):
        return None
    if any(not np.array_equal(known[0][0], one[0]) for one in known):
        raise ValueError(
            f'seeds of {lines[0]["model"]} have other labels for {split} of '
            f"'{lines[0]['task']}'; run the task again into a new results file"
        )
    mean = np.mean([one[1].astype(np.float64) for one in known], axis=0)
    return score(kind, known[0][0], mean, lines[0]['train_std'])[MAIN[kind]]
