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
    r"""Labels and the mean prediction of runs of one task and protocol;
    :obj:`None` where predictions are not at hand.

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
    for line, one in zip(lines, known):
        if not np.array_equal(known[0][0], one[0]):
            raise ValueError(
                f'seed {line["seed"]} of {line["model"]} has other labels for {split} '
                f"of '{line['task']}' than seed {lines[0]['seed']} of "
                f'{lines[0]["model"]}; run the task again into a new results file'
            )
    return known[0][0], np.mean([one[1] for one in known], axis=0)


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
