r"""On how many tasks one model is at least as good as another."""

from pathlib import Path
from typing import Any

from benchmark.relbench.bootstrap import is_better
from benchmark.relbench.inputs import PROTOCOLS
from benchmark.relbench.rst import markdown
from benchmark.relbench.table import cells_of, resampled_scores

Lines = list[dict[str, Any]]

MODELS = (
    'relational-transformer',
    'relational-transformer-joint',
    'relational-transformer-ensemble',
    'relational-transformer-zero-shot',
    'relational-transformer-fine-tuned',
)
RIVALS = ('lightgbm-relational', 'rdl-gnn', 'entity-mean-known', 'smoothed-known')


def duels(groups: dict[tuple[str, str], Lines], folder: Path, bold: bool = True) -> str:
    r"""Markdown of all pairs of models, by the means over seeds.

    Args:
        groups: The lines of each database and task.
        folder: Where their predictions are.
        bold: Whether to mark the tasks on which a paired bootstrap tells the two apart,
            which takes minutes.
    """
    results: dict[tuple[str, str, str], tuple[list[str], list[str]]] = {}
    for (_, task), lines in sorted(groups.items()):
        for protocol in PROTOCOLS:
            cells = {
                model: cell
                for (model, asked), cell in cells_of(lines, folder, mark=False).items()
                if asked == protocol and model in (*MODELS, *RIVALS)
            }
            curves = resampled_scores(list(cells.values()), folder) if bold else None
            found = dict(zip(cells, curves)) if curves else {}
            for one, other in [(m, r) for m in MODELS for r in RIVALS]:
                if one not in cells or other not in cells:
                    continue
                is_won = cells[one].goodness('test') >= cells[other].goodness('test')
                better, worse = (one, other) if is_won else (other, one)
                told = bool(found) and is_better(found[better], found[worse])
                row = results.setdefault((one, other, protocol), ([], []))
                row[0 if is_won else 1].append(f'**{task}**' if told else task)
    rows = [
        [
            f'{one}; {other}',
            protocol,
            f'{len(won)} of {len(won) + len(lost)}',
            ', '.join(won),
            ', '.join(lost),
        ]
        for one in MODELS
        for other in RIVALS
        for protocol in PROTOCOLS
        for won, lost in [results.get((one, other, protocol), ([], []))]
        if won or lost
    ]
    if not rows:
        return ''
    header = ['models', 'protocol', 'the first is as good or better', 'on', 'not on']
    title = '## Two models at a time, means on test'
    return '\n'.join([title, '', *markdown(header, rows), ''])
