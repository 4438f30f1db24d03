import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmark import carry
from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import PreparedDatabase
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_task_store

ROOT = Path(__file__).parents[2]
TINY = {'channels': 16, 'num_layers': 1, 'heads': 2, 'ff_channels': 16}


@pytest.fixture(scope='module')
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('carry')
    store = toy_task_store()
    PreparedDatabase('shop', store.store, [store.task]).save(folder / 'shop')
    carry.pack(folder / 'shop.zip', [str(folder / 'shop')], 'hashing')
    return folder


def test_what_is_unpacked_is_what_was_packed(packed, tmp_path):
    carry.unpack(packed / 'shop.zip', tmp_path)
    before = PreparedDatabase.load(packed / 'shop', 'hashing')
    after = PreparedDatabase.load(tmp_path / 'shop', 'hashing')
    assert [task.name for task in after.tasks] == [task.name for task in before.tasks]
    assert after.tasks[0].frame.equals(before.tasks[0].frame)
    rows = before.task_stores()[0].rows_of_split('train')[:20]
    predictor = RelationalPredictor(RelationalTransformer.small(**TINY), 'hashing')
    one, two = (
        predictor.predict_rows(database.task_stores()[0], rows)
        for database in (before, after)
    )
    # Text travels in half precision.
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert (packed / 'shop.zip').stat().st_size < 100_000


def test_shards_join_again(tmp_path):
    predictor = RelationalPredictor(RelationalTransformer.small(**TINY), 'hashing')
    predictor.save_pretrained(tmp_path / 'run')
    carry.split(tmp_path / 'run', tmp_path / 'shards', max_bytes=8_000)
    assert len(list((tmp_path / 'shards').glob('model-*.safetensors'))) > 2
    carry.join(tmp_path / 'shards', tmp_path / 'joined')
    before = load_file(tmp_path / 'run' / 'model.safetensors')
    after = load_file(tmp_path / 'joined' / 'model.safetensors')
    assert before.keys() == after.keys()
    for name, weight in before.items():
        assert after[name].dtype == torch.float32
        torch.testing.assert_close(after[name], weight, rtol=1e-3, atol=1e-3)
    RelationalPredictor.from_pretrained(tmp_path / 'joined')


def test_the_script_for_another_machine_runs_whole(packed, tmp_path):
    config = {'model': TINY, 'num_cells': [16], 'batch_size': 8, 'num_evals': 0}
    (tmp_path / 'tiny.json').write_text(json.dumps(config))
    environment = {
        **os.environ,
        'PYTHON': sys.executable,
        'RUN': str(tmp_path / 'run'),
        'CONFIG': str(tmp_path / 'tiny.json'),
        'DEVICE': 'cpu',
        'MINUTES': '0.05',
    }
    subprocess.run(
        ['bash', 'benchmark/pretrain_gpu.sh', packed / 'shop.zip', tmp_path / 'out'],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    assert json.loads((tmp_path / 'out' / 'figures.json').read_text())['steps'] > 0
    carry.join(tmp_path / 'out', tmp_path / 'joined')
    predictor = RelationalPredictor.from_pretrained(tmp_path / 'joined')
    assert predictor.training['databases'] == ['shop']
