r"""Contexts of real databases, judged by their raw tables."""

from pathlib import Path

import numpy as np
import pytest

from torch_geometric_rfm.data import (
    CellStore,
    HashingTextEncoder,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.sampler import (
    ContextSampler,
    LocalNeighborhood,
    OwnLabels,
    RandomLabels,
    RecentLabels,
)
from torch_geometric_rfm.testing import RawDatabase, find_violations

ROOT = Path(__file__).resolve().parents[2]
ENCODER = HashingTextEncoder(channels=4)
NUM_CONTEXTS = 2000

CASES = [
    ('rel-f1', 'driver-dnf', None),
    ('rel-f1', 'results-position', None),
    ('worldcup', 'player-scores', '45 days'),
    ('quantum-stackexchange', 'user-engagement', None),
]


def folder(name):
    if name == 'rel-f1':
        return ROOT / 'examples' / 'data' / name
    path = ROOT.parent / 'shared' / 'data' / name
    if not path.exists():
        pytest.skip(f'{name} is not here')
    return path


@pytest.mark.parametrize(('name', 'task_name', 'horizon'), CASES)
def test_no_violation_on_real_databases(name, task_name, horizon):
    path = folder(name)
    db = load_database(path)
    cutoff = load_dataset(path).val_timestamp
    task = Task.from_relbench(load_task(path, task_name), db, horizon=horizon)
    data, col_stats = to_hetero(db, cutoff=cutoff)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cutoff=cutoff, cache_dir=False
    ).with_task(task)
    raw = RawDatabase(db, cutoff)
    # Half of them are evaluation rows, of which there are fewer.
    train = store.rows_of_split('train')
    others = np.setdiff1d(np.arange(len(task.frame)), train)
    rng = np.random.default_rng(0)
    half = min(NUM_CONTEXTS // 2, len(others))
    rows = np.concatenate(
        [
            rng.choice(train, NUM_CONTEXTS - half, replace=len(train) < NUM_CONTEXTS),
            rng.choice(others, half, replace=False),
        ]
    )
    for protocol, strategy in (('rolling', 'last'), ('frozen', 'uniform')):
        policies = [
            LocalNeighborhood(temporal_strategy=strategy),
            OwnLabels(0.15),
            RecentLabels(0.1),
            RandomLabels(0.1),
        ]
        sampler = ContextSampler(store, policies, num_cells=128)
        until = store.visible_until(rows, protocol)
        ids = np.arange(NUM_CONTEXTS)
        cells = sampler.sample(rows, store.arrays.time[rows], until, ids)
        assert cells.num_contexts == NUM_CONTEXTS
        assert cells.num_nodes > 50 * NUM_CONTEXTS
        violations = find_violations(
            cells, raw, task, protocol, num_cells=128, text_encoder=ENCODER
        )
        assert violations == []
