r"""Prepares the databases that the checkpoint in the package is pretrained on.

    python benchmark/checkpoint/prepare.py ../shared/data prepared

Every RelBench folder but rel-f1 gets its own tasks and generated ones, and synthetic
databases join them. What is prepared already is not prepared again.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from torch_geometric_rfm.data import PreparedDatabase, get_text_encoder
from torch_geometric_rfm.data.prepared_database import is_prepared, prepare_database
from torch_geometric_rfm.datasets import SyntheticRelationalDatabase, generate_tasks
from torch_geometric_rfm.datasets.task_maker import GENERATOR_VERSION

HELD_OUT = 'rel-f1'
NUM_DRAWS, MAX_TASKS, MAX_ROWS = 4, 36, 20_000
MAX_SYNTHETIC_TASKS = 24


def real(source: Path, encoder) -> PreparedDatabase:
    r"""A database with its tasks and generated ones."""

    def generate(dataset):
        found = {}
        for seed in range(NUM_DRAWS):
            for task in generate_tasks(
                dataset, seed=seed, max_tasks=MAX_TASKS, max_rows=MAX_ROWS
            ):
                found.setdefault(task.name, task)
        return list(found.values())

    generator = f'checkpoint {GENERATOR_VERSION}, {NUM_DRAWS}, {MAX_TASKS}, {MAX_ROWS}'
    return prepare_database(source, encoder, None, generate, generator)


def synthetic(seed: int, encoder) -> PreparedDatabase:
    r"""A synthetic database with generated tasks."""
    dataset = SyntheticRelationalDatabase(seed, num_tables=(3, 10))
    tasks = dataset.tasks(max_tasks=MAX_SYNTHETIC_TASKS)
    return PreparedDatabase(f'synthetic-{seed}', dataset.to_store(encoder), list(tasks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('data', type=Path, help='a folder of RelBench folders')
    parser.add_argument('out', type=Path)
    parser.add_argument('--num-synthetic', type=int, default=24)
    args = parser.parse_args()
    encoder = get_text_encoder('hashing')
    sources = sorted(path.parent for path in args.data.glob('*/schema.json'))
    plan = [
        (source.name, real, source) for source in sources if source.name != HELD_OUT
    ]
    plan += [(f'synthetic-{i}', synthetic, i) for i in range(args.num_synthetic)]
    for name, prepare, source in plan:
        folder = args.out / name
        if is_prepared(folder):
            continue
        start = time.perf_counter()
        database = prepare(source, encoder)
        forecasts = sum(task.horizon.value > 0 for task in database.tasks)
        database.save(folder)
        print(
            f'{name}: {database.store.num_rows:,} rows, {forecasts} forecasts, '
            f'{len(database.tasks) - forecasts} autocompletes, '
            f'{time.perf_counter() - start:.0f} s',
            flush=True,
        )


if __name__ == '__main__':
    main()
