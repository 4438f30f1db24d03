import csv

import numpy as np
import pytest
import torch

from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_task_store
from torch_geometric_rfm.train import TrainConfig, fit, predict_rows
from torch_geometric_rfm.train.fit import joint_batches, parameter_groups

SAMPLING = {'num_cells': 32, 'num_neighbors': 4}


def tiny_model(seed=0):
    torch.manual_seed(seed)
    return RelationalTransformer.small(
        channels=32, num_layers=1, heads=2, ff_channels=32
    )


def steps(num_steps, **kwargs):
    return TrainConfig(minutes=None, num_steps=num_steps, batch_size=8, **kwargs)


def test_fit_lowers_the_loss_and_logs(tmp_path):
    result = fit(
        tiny_model(),
        [toy_task_store()],
        steps(40, num_evals=4, patience=9, lr=5e-3),
        tmp_path,
        show_progress=False,
        **SAMPLING,
    )
    assert result.steps == 40
    assert result.contexts > 0
    assert not result.interrupted
    with (tmp_path / 'metrics.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row['step']) for row in rows] == [10, 20, 30, 40]
    assert float(rows[-1]['train_loss']) < float(rows[0]['train_loss'])
    assert float(rows[-1]['learning_rate']) < float(rows[0]['learning_rate'])


def test_fit_is_determined_by_its_seed():
    states = []
    for workers in (0, 2):
        model = tiny_model()
        config = steps(5, num_evals=1, num_workers=workers, seed=3)
        fit(model, [toy_task_store()], config, show_progress=False, **SAMPLING)
        states.append(model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_interrupt_keeps_a_checkpoint(monkeypatch):
    saved = []
    from torch_geometric_rfm.train import fit as module_fit  # noqa: F401
    from torch_geometric_rfm.train.report import _SilentBar

    calls = []

    def update(self, *args):
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(_SilentBar, 'update', update)
    result = fit(
        tiny_model(),
        [toy_task_store()],
        steps(50, num_evals=10),
        save=saved.append,
        show_progress=False,
        **SAMPLING,
    )
    assert result.interrupted
    assert result.steps == 6
    assert len(saved) >= 1


def test_fit_names_a_loss_that_is_not_finite():
    model = tiny_model()
    with torch.no_grad():
        model.decoder.number.bias.fill_(float('nan')) if hasattr(
            model.decoder, 'number'
        ) else [p.fill_(float('nan')) for p in model.decoder.parameters()]
    store = toy_task_store()
    with pytest.raises(ValueError, match='not finite'):
        fit(model, [store], steps(3), show_progress=False, **SAMPLING)


def test_norms_and_biases_do_not_decay():
    model = tiny_model()
    decayed, free = parameter_groups(model, 0.1)
    assert (decayed['weight_decay'], free['weight_decay']) == (0.1, 0.0)
    assert all(p.dim() >= 2 for p in decayed['params'])
    num_parameters = sum(1 for _ in model.parameters())
    assert len(decayed['params']) + len(free['params']) == num_parameters


def test_joint_batches_in_proportion():
    batches = joint_batches([['a'] * 30, ['b'] * 10], seed=0)
    drawn = [next(batches) for _ in range(4000)]
    assert abs(drawn.count('a') / 4000 - 0.75) < 0.03


def test_predict_rows_depends_on_rows_alone():
    store, model = toy_task_store(), tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    together = predict_rows(model, store, 'test', batch_size=7, **SAMPLING)
    rows = store.rows_of_split('test')
    alone = [predict_rows(model, store, [row], **SAMPLING)[0] for row in rows[:5]]
    assert together.shape == rows.shape
    assert np.allclose(together[:5], alone, atol=1e-5)
    assert together.std() > 0
