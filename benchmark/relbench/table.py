r"""Cells of a table: means over seeds, intervals, what is significantly best."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmark.relbench.bootstrap import is_better, resampled, resamples
from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN
from benchmark.relbench.results import load_entities, load_predictions


@dataclass
class Cell:
    r"""All runs of a model under a protocol.

    Args:
        lines: Their lines, one a seed.
        best: Splits on which it is significantly better than every other.
    """

    lines: list[dict[str, Any]]
    best: set[str] = field(default_factory=set)

    def values(self, split: str, metric: str) -> np.ndarray:
        r"""A metric of all seeds."""
        return np.array([line['metrics'][split][metric] for line in self.lines])

    def goodness(self, split: str) -> float:
        r"""The mean over seeds of the metric that tables go by, higher is better."""
        metric = MAIN[self.lines[0]['kind']]
        sign = -1 if metric in LESS_IS_BETTER else 1
        return sign * float(self.values(split, metric).mean())

    def text(self, split: str, metric: str) -> str:
        r"""The mean, with its 95 % interval over seeds where there are several."""
        values = self.values(split, metric)
        text = f'{values.mean():.4f}'
        if split in self.best and metric == MAIN[self.lines[0]['kind']]:
            text = f'**{text}**'
        if len(values) == 1:
            return text
        return f'{text} ± {half_interval(values):.4f}'


def half_interval(values: np.ndarray) -> float:
    r"""Half of the 95 % interval of a mean, by Student's t."""
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return float(quantile * values.std(ddof=1) / np.sqrt(len(values)))


def cells_of(
    lines: Iterable[dict[str, Any]], folder: Path, mark: bool = True
) -> dict[tuple[str, str], Cell]:
    r"""The cells of one task by model and protocol; the best are marked if asked."""
    cells: dict[tuple[str, str], Cell] = {}
    for line in lines:
        key = (line['model'], line['protocol'])
        cells.setdefault(key, Cell([])).lines.append(line)
    for protocol in {key[1] for key in cells} if mark else ():
        chosen = [cell for key, cell in cells.items() if key[1] == protocol]
        _mark_best(chosen, folder)  # Choices are made on val.
    return cells


def _mark_best(cells: list[Cell], folder: Path, split: str = 'test') -> None:
    ranked = sorted(cells, key=lambda cell: -cell.goodness(split))
    curves = resampled_scores(ranked, folder, split)
    if curves is None or len(curves) < 2:
        return
    if all(is_better(curves[0], other) for other in curves[1:]):
        ranked[0].best.add(split)


def resampled_scores(
    cells: list[Cell], folder: Path, split: str = 'test'
) -> list[np.ndarray] | None:
    r"""The goodness of models of one task and protocol under resamples that they share;
    :obj:`None` without predictions or entities, where nothing is called significant.

    Raises:
        ValueError: If predictions are of other labels than others.
    """
    entity = load_entities(cells[0].lines[0], folder, split) if cells else None
    if entity is None:
        return None
    kind = cells[0].lines[0]['kind']
    curves, weights, truth = [], resamples(entity), None
    for cell in cells:
        found = [load_predictions(line, folder) for line in cell.lines]
        known = [one[split] for one in found if one is not None]
        if len(known) < len(cell.lines):
            return None
        label = known[0][0]
        truth = label if truth is None else truth
        if not np.array_equal(truth, label) or len(label) != len(entity):
            raise ValueError(
                f'predictions of {cell.lines[0]["model"]} for {split} of '
                f"'{cell.lines[0]['task']}' are of other labels ({len(label)} rows) "
                f'than others ({len(truth)} rows); run the task again into a new '
                'results file'
            )
        curves.append(resampled(kind, label, [one[1] for one in known], weights))
    return curves


def different_versions(lines: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    r"""Packages of which lines have several versions."""
    lines = list(lines)
    names = sorted({name for line in lines for name in line['versions']})
    found = {
        name: sorted({line['versions'].get(name, 'not recorded') for line in lines})
        for name in names
    }
    return {name: versions for name, versions in found.items() if len(versions) > 1}
