import functools
import sys
from itertools import islice

import numpy as np
import pytest

from torch_geometric_rfm.data import get_text_encoder
from torch_geometric_rfm.datasets import SyntheticRelationalDatabase
from torch_geometric_rfm.loader import MixtureLoader
from torch_geometric_rfm.train import mixture_stream, pretrain
from torch_geometric_rfm.train.mixture_stream import MixtureStream


@pytest.fixture(autouse=True)
def small(monkeypatch):
    small = functools.partial(
        SyntheticRelationalDatabase, num_tables=3, num_rows=800, num_columns=(2, 4)
    )
    monkeypatch.setattr(mixture_stream, 'SyntheticRelationalDatabase', small)


STREAM = {'synthetic_pool': 1, 'synthetic_every': 2, 'num_evals': 0}


def test_synthetic_databases_come_and_go(databases, config):
    loaders = []

    def make_loader(parts):
        loaders.append(
            MixtureLoader(parts, batch_size=8, num_cells=[16], num_neighbors=4)
        )
        return loaders[-1]

    encoder = get_text_encoder('hashing')

    def stream():
        return MixtureStream(databases, config(**STREAM), encoder, make_loader)

    straight = list(islice(stream().batches(0), 5))
    names = [{part.database for part in loader.parts} for loader in loaders]
    assert names == [{'shop', 'kiosk', f'synthetic-{10**6 + i}'} for i in range(3)]
    # From anywhere the same batches follow.
    for cells, again in zip(straight[3:], stream().batches(3)):
        assert cells.input_id.tolist() == again.input_id.tolist()
        assert np.array_equal(cells.target, again.target, equal_nan=True)
        assert cells.phrases == again.phrases


def test_a_killed_run_goes_on_in_its_generation(
    databases, config, tmp_path, monkeypatch
):
    def run(folder):
        steps = config(7, **STREAM)  # A checkpoint after step 4.
        return pretrain(
            databases[:1], tmp_path / folder, steps, resume=True, show_progress=False
        )

    whole = run('whole')
    module = sys.modules['torch_geometric_rfm.train.pretrain']
    average, calls = module.average_weights, []

    def killed(*args):
        calls.append(args)
        if len(calls) == 6:
            raise InterruptedError
        average(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, 'average_weights', killed)
        with pytest.raises(InterruptedError):
            run('killed')
    assert run('killed').losses == whole.losses
    assert len(set(whole.losses)) == 7


def test_synthetic_databases_alone(config, tmp_path):
    result = pretrain([], tmp_path, config(3, **STREAM), show_progress=False)
    assert result.steps == 3
    with pytest.raises(ValueError, match='no tasks to train on'):
        pretrain([], tmp_path / 'none', config(3), show_progress=False)
    with pytest.raises(ValueError, match="'synthetic_every' must be positive"):
        config(3, synthetic_every=0)
