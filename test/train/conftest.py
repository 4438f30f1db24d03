import sys
from contextlib import contextmanager

import numpy as np
import pytest

from torch_geometric_rfm.data import PreparedDatabase
from torch_geometric_rfm.testing import toy_database, toy_task, toy_task_store
from torch_geometric_rfm.train import PretrainConfig, pretrain

TINY = {'channels': 16, 'num_layers': 1, 'heads': 2, 'ff_channels': 16}


@pytest.fixture(scope='session')
def databases():
    stores = []
    for seed in (0, 1):
        db = toy_database(seed)
        binary = toy_task_store(db=db)
        stores.append((binary.store, [binary.task, toy_task(db, 'regression')]))
    return [
        PreparedDatabase(name, store, tasks)
        for name, (store, tasks) in zip(('shop', 'kiosk'), stores)
    ]


@pytest.fixture
def config():
    def make(num_steps=8, **kwargs):
        fields = {
            'batch_size': 8,
            'group_size': 2,
            'num_cells': [16, 24],
            'model': TINY,
            'num_evals': 2,
            'max_val_rows': 20,
            'save_every': 4,
            'sampling': {'num_neighbors': 4},
            'accelerator': 'cpu',
        }
        return PretrainConfig(num_steps=num_steps, **fields | kwargs)

    return make


@pytest.fixture
def corrupt(databases):
    # The numbers of one database are not finite.
    def make(value=np.inf):
        db = toy_database(1)
        broken = toy_task_store(db=db).store
        broken.arrays.numbers[:] = value
        return PreparedDatabase('broken', broken, databases[1].tasks)

    return make


@pytest.fixture
def stops_after(monkeypatch):
    # As Ctrl-C does, right after the checkpoint of a step.
    @contextmanager
    def stop(step):
        module = sys.modules[pretrain.__module__]
        original = module.save_state

        def save_state(folder, state, settings):
            original(folder, state, settings)
            if state['step'] == step:
                raise StopIteration

        with monkeypatch.context() as patch:
            patch.setattr(module, 'save_state', save_state)
            with pytest.raises(StopIteration):
                yield

    return stop
