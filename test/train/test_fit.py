import csv

import numpy as np
import pytest
import torch

from torch_geometric_rfm.data.cell_data import concatenate
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import random_cells, toy_task, toy_task_store
from torch_geometric_rfm.train import TrainConfig, fit, predict_rows
from torch_geometric_rfm.train.fit import joint_batches, shares
from torch_geometric_rfm.train.objective import LabelAndCellLoss
from torch_geometric_rfm.train.optimizer import parameter_groups
from torch_geometric_rfm.transforms import MaskCells

SAMPLING = {'num_cells': 32, 'num_neighbors': 4}


def tiny_model(seed=0):
    torch.manual_seed(seed)
    return RelationalTransformer.small(
        channels=32, num_layers=1, heads=2, ff_channels=32
    )


def steps(num_steps, **kwargs):
    return TrainConfig(minutes=None, num_steps=num_steps, batch_size=8, **kwargs)


def persistent_store():
    # The label of a customer never changes: its earlier labels give it away.
    task = toy_task()
    task.frame['label'] = (task.frame['entity'] % 2).astype(float)
    base = toy_task_store().store
    return base.with_task(task)


def test_fit_learns_from_earlier_labels_and_logs(tmp_path):
    result = fit(
        tiny_model(),
        [persistent_store()],
        steps(60, num_evals=3, patience=9, lr=1e-2, mask_weight=0),
        tmp_path,
        show_progress=False,
        num_cells=16,
        own_labels=0.5,
    )
    assert result.steps == 60
    assert not result.interrupted
    assert result.metrics['customer-orders']['roc_auc'] > 0.95
    with (tmp_path / 'metrics.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row['step']) for row in rows] == [20, 40, 60]
    assert float(rows[-1]['train_loss']) < 0.5 * float(rows[0]['train_loss'])
    assert float(rows[-1]['learning_rate']) < float(rows[0]['learning_rate'])
    # The label is the only column that is asked for.
    with (tmp_path / 'columns.csv').open() as file:
        columns = list(csv.DictReader(file))
    assert [int(row['batches']) for row in columns] == [20, 20, 20]
    assert len({row['column'] for row in columns}) == 1
    for row, column in zip(rows, columns, strict=True):
        loss = float(column['train_loss'])
        assert loss == pytest.approx(float(row['train_loss']))


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
        for parameter in model.decoder.parameters():
            parameter.fill_(float('nan'))
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


def test_joint_batches_hold_every_task():
    binary = toy_task_store()
    loaders = [
        ContextLoader(binary, batch_size=size, shuffle=True, seed=1, **SAMPLING)
        for size in (5, 2)
    ]
    batches = joint_batches(loaders)
    for _ in range(len(loaders[0]) + 2):
        cells = next(batches)
        assert cells.num_contexts <= 7
        assert cells.ptr[-1] == cells.num_nodes
        assert cells.mask[cells.ptr[:-1]].all()


def test_concatenated_batches_predict_the_same():
    model, store = tiny_model(), toy_task_store()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    one, two = (
        next(iter(ContextLoader(store, input_nodes=split, batch_size=4, **SAMPLING)))
        for split in ('train', 'test')
    )
    apart = torch.cat([model(one)[one.ptr[:-1]], model(two)[two.ptr[:-1]]])
    both = concatenate([one, two])
    assert torch.allclose(model(both)[both.ptr[:-1]], apart, atol=1e-5)


def test_shares():
    assert shares([10, 10], 8, 1.0) == [4, 4]
    assert shares([1, 10**6], 32, 1.0) == [1, 32]
    assert shares([100, 400], 30, 2.0) == [10, 20]


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


def test_other_cells_count_by_their_weight():
    cells = MaskCells('uniform', 0.4)(random_cells(num_contexts=3, num_cells=50))
    output = torch.randn(cells.num_nodes, generator=torch.Generator().manual_seed(0))
    first = torch.tensor([0, 50, 100])
    target = cells.target.clone()
    losses = {}
    for weight in (0.0, 0.7):
        label, other = MaskedCellLoss(0.5), MaskedCellLoss(0.5, reduction='context')
        losses[weight] = LabelAndCellLoss(label, other, weight)(output, cells)
        assert torch.equal(cells.target.nan_to_num(9), target.nan_to_num(9))
    # The means over labels, and over the other cells of each context, by hand.
    own = cells.clone()
    own.target = torch.full_like(target, float('nan'))
    own.target[first] = target[first]
    others = cells.clone()
    others.target = target.clone()
    others.target[first] = float('nan')
    labels = MaskedCellLoss(0.5)(output, own)
    means = []
    for i in range(3):
        one = others.clone()
        one.target = others.target.where(others.batch == i, float('nan'))
        means.append(MaskedCellLoss(0.5)(output, one))
    assert losses[0.0] == pytest.approx(float(labels))
    expected = labels + 0.7 * sum(means) / 3
    assert losses[0.7] == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(ValueError, match=r"'weight' must be at least 0 \(got -1\)"):
        LabelAndCellLoss(label, other, -1)
