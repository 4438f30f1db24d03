import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from torch_geometric_rfm.data import (
    CellStore,
    HashingTextEncoder,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.nn.models.key_map import to_official
from torch_geometric_rfm.testing import official_batch, save_official_input
from torch_geometric_rfm.transforms import MaskCells

ROOT = Path(__file__).resolve().parents[3]
REL_F1 = ROOT / 'examples' / 'data' / 'rel-f1'
PYTHON = 'TORCH_GEOMETRIC_RFM_OFFICIAL_PYTHON'


@pytest.fixture(scope='session')
def real_contexts():
    r"""Contexts of different sizes of a task of rel-f1, with further hidden cells."""
    db, cutoff = load_database(REL_F1), load_dataset(REL_F1).val_timestamp
    data, col_stats = to_hetero(db, cutoff=cutoff)
    encoder = HashingTextEncoder(channels=16)
    store = CellStore.from_hetero(data, col_stats, text_encoder=encoder, cutoff=cutoff)

    def draw(task_name, num_cells=160, rows=(0, 3000, 7000)):
        task = Task.from_relbench(load_task(REL_F1, task_name), db)
        loader = ContextLoader(
            store.with_task(task),
            input_nodes=torch.tensor(rows),
            batch_size=len(rows),
            num_cells=num_cells,
            transform=MaskCells('uniform', rate=0.1),
        )
        return next(iter(loader))

    return draw


@pytest.fixture
def run_official(tmp_path):
    r"""Runs the official module in an environment of its own."""
    if PYTHON not in os.environ:
        pytest.skip(f'{PYTHON} names no python with relational-transformer==1.10.0')

    def run(name, model, cells, loss_fn='huber'):
        batch = official_batch(cells, model.boolean_as_number)
        source, target = tmp_path / 'in.safetensors', tmp_path / 'out.safetensors'
        save_official_input(
            source,
            to_official(model),
            batch,
            model=name,
            num_heads=model.heads,
            rms_eps=model.rms_eps,
            loss_fn=loss_fn,
        )
        script = ROOT / 'benchmark' / 'official_model.py'
        command = [os.environ[PYTHON], str(script), str(source), str(target), '--eager']
        environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr[-2000:]
        outputs = load_file(target)
        boolean = 'number' if model.boolean_as_number else 'boolean'
        values = torch.zeros(cells.num_nodes)
        for kind, key in enumerate(['number', boolean, 'datetime']):
            value = outputs[key].squeeze(-1)[~batch['is_padding']]
            values = torch.where(cells.cell_type == kind, value, values)
        return values, outputs['loss']

    return run
