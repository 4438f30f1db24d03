r"""What the pretrained model of the package uses, by taking it away.

    python benchmark/ablations.py examples/data/rel-f1 driver-dnf driver-top3 \
        driver-position --json ablations.json --rst docs/ablations.txt

The weights stay as they are; zero-shot test scores under the rolling protocol without
past labels of the entity, or summaries, with labels of others, without each
attention or copying, with column phrases dealt out anew, and without relative times,
absolute ones or the calendar.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmark.relbench.rst import markdown, to_rst
from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import CellData
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.nn.value_encoding import DATETIME_ENCODINGS
from torch_geometric_rfm.train.evaluation import score_rows

Change = Callable[[CellData], CellData]


@contextmanager
def changed_cells(model: RelationalTransformer, change: Change) -> Iterator[None]:
    r"""The model sees changed contexts."""
    handle = model.register_forward_pre_hook(
        lambda _, args: (change(args[0].clone()), *args[1:])
    )
    yield
    handle.remove()


@contextmanager
def without_attention(model: RelationalTransformer, name: str) -> Iterator[None]:
    r"""An attention adds nothing, in any block."""
    handles = [
        block.attentions[name].register_forward_hook(lambda *args: 0.0 * args[2])
        for block in model.blocks
    ]
    yield
    for handle in handles:
        handle.remove()


@contextmanager
def without_copying(model: RelationalTransformer) -> Iterator[None]:
    r"""Predictions copy nothing."""
    assert model.copy_attention is not None
    handle = model.copy_attention.register_forward_hook(
        lambda *args: tuple(torch.zeros_like(out) for out in args[2])
    )
    yield
    handle.remove()


@contextmanager
def without_times(model: RelationalTransformer, *names: str) -> Iterator[None]:
    r"""Datetimes lack some of their encodings; without relative ones no cell knows the
    age of its row.
    """
    known = model.encoder.datetime_encoding
    keep = torch.tensor([name not in names for name in known])
    keep = keep.repeat_interleave(torch.tensor([DATETIME_ENCODINGS[n] for n in known]))
    handles = [
        model.encoder.lins['datetime'].register_forward_pre_hook(
            lambda _, args: (args[0] * keep,)
        )
    ]
    if 'relative' in names:
        age = model.encoder.norms['age']
        handles.append(
            age.register_forward_hook(lambda *args: torch.zeros_like(args[2]))
        )
    yield
    for handle in handles:
        handle.remove()


def shuffled_phrases(cells: CellData) -> CellData:
    r"""Each column has the phrase of another, always of the same one."""
    names = sorted(set(cells.phrases))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    other = {name: names[order[i]] for i, name in enumerate(names)}
    first = {name: i for i, name in enumerate(cells.phrases)}
    index = torch.tensor([first[other[name]] for name in cells.phrases])
    cells.column_embedding = cells.column_embedding[index]
    return cells


def ways(predictor: RelationalPredictor) -> dict[str, tuple[Any, dict[str, float]]]:
    r"""For each ablation what holds while it is scored, and how it samples."""
    model = predictor.model
    out: dict[str, tuple[Any, dict[str, float]]] = {
        'as it is': (nullcontext(), {}),
        'without past labels of the entity': (nullcontext(), {'own_labels': 0.0}),
        'with a tenth for recent labels of others': (
            nullcontext(),
            {'recent_labels': 0.1},
        ),
        'with a tenth for random labels of others': (
            nullcontext(),
            {'random_labels': 0.1},
        ),
    }
    if predictor.sampling['history']:
        out['without summaries'] = (nullcontext(), {'history': 0.0})
        without_both = {'own_labels': 0.0, 'history': 0.0}
        out['without past labels and summaries'] = (nullcontext(), without_both)
    for name in model.attentions:
        out[f'without {name} attention'] = (without_attention(model, name), {})
    out['with column phrases shuffled'] = (changed_cells(model, shuffled_phrases), {})
    if model.copy_attention is not None:
        out['without copying'] = (without_copying(model), {})
    out['without relative times'] = (without_times(model, 'relative'), {})
    out['without absolute times'] = (without_times(model, 'global'), {})
    out['without the calendar'] = (without_times(model, 'day', 'week', 'year'), {})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('db')
    parser.add_argument('tasks', nargs='+')
    parser.add_argument('--model', type=Path, help='a run; that of the package if not')
    parser.add_argument('--split', default='test')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--rst', type=Path)
    args = parser.parse_args()
    predictor = RelationalPredictor.from_pretrained(args.model)
    stores = [predictor.open_task(args.db, task) for task in args.tasks]
    figures: dict[str, list[dict[str, float]]] = {}
    for name, (ablation, sampling) in ways(predictor).items():
        with ablation:
            figures[name] = [
                score_rows(
                    predictor.model,
                    store,
                    store.rows_of_split(args.split),
                    'rolling',
                    **{**predictor.sampling, **sampling},
                )
                for store in stores
            ]
        print(
            name, [f'{next(iter(f.values())):.4f}' for f in figures[name]], flush=True
        )
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=2) + '\n')
    if args.rst is not None:
        args.rst.write_text(table(args.tasks, figures))


def table(tasks: list[str], figures: dict[str, list[dict[str, float]]]) -> str:
    r"""The main metric of each task, as reStructuredText."""
    metrics = [next(iter(scores)) for scores in next(iter(figures.values()))]
    header = ['', *(f'{task} ({metric})' for task, metric in zip(tasks, metrics))]
    rows = [
        [name, *(f'{next(iter(f.values())):.3f}' for f in scores)]
        for name, scores in figures.items()
    ]
    return to_rst('\n'.join(markdown(header, rows)))


if __name__ == '__main__':
    main()
