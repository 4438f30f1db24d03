import sys

import numpy as np
import pytest
import torch

from torch_geometric_rfm.loader import MixtureLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import PretrainConfig, pretrain
from torch_geometric_rfm.train.mixture import make_parts
from torch_geometric_rfm.train.optimizer import make_optimizer

EPISODES = {'episode_steps': 3, 'episode_rate': 0.5, 'num_evals': 0}


def run(databases, out, config, **kwargs):
    return pretrain(databases, out, config, show_progress=False, **kwargs)


def state_of(folder):
    return torch.load(folder / 'state.pt', weights_only=True)['state']


def episode_loader(databases, fields):
    return MixtureLoader(
        make_parts(databases, fields),
        batch_size=8,
        group_size=2,
        num_cells=[16, 24],
        flip_rate=fields.flip_rate,
        episode_steps=3,
        num_neighbors=4,
        own_labels=0.3,
    )


def test_a_plain_loop_of_reptile(databases, config, tmp_path):
    fields = config(7, **EPISODES, flip_rate=0.5, drop_rate=0.5)
    result = run(databases, tmp_path, fields)

    batches = iter(episode_loader(databases, fields))
    torch.manual_seed(0)
    model = RelationalTransformer.small(text_channels=384, **fields.model)
    slow = {k: v.double() for k, v in model.state_dict().items()}
    losses = []
    for first in (0, 3, 6):
        model.load_state_dict(slow)
        optimizer = make_optimizer(model, fields.lr, fields.weight_decay)
        for step in range(first, min(first + 3, 7)):
            cells = next(batches)
            output = model(cells, all_heads=True)
            loss = MaskedCellLoss(0.25, reduction='context')(output, cells)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), fields.clip)
            for group in optimizer.param_groups:
                group['lr'] = fields.lr * min(1.0, (step - first + 1) / 0.6)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        if first < 6:  # The last one does not come to its end.
            rate = 0.5 * (1 - (first + 2) / 7)
            fast = {k: v.double() for k, v in model.state_dict().items()}
            slow = {k: v + rate * (fast[k] - v) for k, v in slow.items()}
    assert result.losses == pytest.approx(losses, rel=1e-4)
    saved = state_of(tmp_path)['averaged']
    for name, value in slow.items():
        assert torch.allclose(saved[name].double(), value, atol=1e-5), name


@pytest.mark.parametrize('step', [4, 6])
def test_a_run_resumes_within_an_episode(
    databases, config, tmp_path, stops_after, step
):
    fields = config(10, **EPISODES, drop_rate=0.5, save_every=2)
    straight = run(databases, tmp_path / 'straight', fields)
    with stops_after(step):
        run(databases, tmp_path / 'cut', fields)
    again = run(databases, tmp_path / 'cut', fields, resume=True)
    assert again.losses == straight.losses
    one, two = state_of(tmp_path / 'straight'), state_of(tmp_path / 'cut')
    for name, value in one['averaged'].items():
        assert torch.equal(value, two['averaged'][name]), name
    other = config(10, **EPISODES | {'episode_rate': 0.2}, drop_rate=0.5)
    with pytest.raises(ValueError, match='another configuration: episode_rate 0.5'):
        run(databases, tmp_path / 'cut', other, resume=True)


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_bad_batch_ends_its_episode(
    databases, config, tmp_path, monkeypatch, num_workers
):
    module = sys.modules[pretrain.__module__]
    forward, objective = module.MaskedCellLoss.forward, module._Objective.forward
    calls, batches, starts = [], [], []

    def broken(self, output, cells):
        calls.append(cells)
        return forward(self, output, cells) * (np.inf if len(calls) == 5 else 1)

    def watched(self, cells):
        batches.append(cells.input_id.tolist())
        return objective(self, cells)

    def start(run):
        original(run)
        assert not run.optimizer.optimizer.state
        for name, value in run.model.state_dict().items():
            assert torch.equal(value, run.averaged[name]), name
        starts.append((run.position, run.budget.step))

    original = module.PretrainRun._start_episode
    monkeypatch.setattr(module.MaskedCellLoss, 'forward', broken)
    monkeypatch.setattr(module._Objective, 'forward', watched)
    monkeypatch.setattr(module.PretrainRun, '_start_episode', start)
    fields = config(8, **EPISODES, save_every=1, num_workers=num_workers)
    with pytest.warns(UserWarning, match='batch 4 is skipped'):
        result = run(databases, tmp_path, fields)
    assert result.steps == len(result.losses) == 8
    assert np.isfinite(result.losses).all()
    # Four batches were good; the sixth, of the bad one's episode, is not asked.
    assert starts == [(3, 3), (6, 4), (9, 7)]
    loader = episode_loader(databases, fields)
    straight = [cells.input_id.tolist() for cells, _ in zip(loader, range(10))]
    assert batches == straight[:5] + straight[6:]
    assert state_of(tmp_path)['position'] == 10


def test_losses_of_tasks_may_be_of_different_sizes(
    databases, config, tmp_path, monkeypatch
):
    module = sys.modules[pretrain.__module__]
    forward, calls = module.MaskedCellLoss.forward, []

    def scaled(self, output, cells):
        calls.append(cells)
        return forward(self, output, cells) * (1e-3 if len(calls) <= 30 else 1.0)

    monkeypatch.setattr(module.MaskedCellLoss, 'forward', scaled)
    episodes = EPISODES | {'episode_steps': 30}
    result = run(databases, tmp_path, config(60, **episodes, explosion=10.0))
    assert result.steps == 60
    assert not result.skipped
    assert np.mean(result.losses[30:]) > 10 * np.mean(result.losses[:30])


def task_batches(databases, fields, num_workers=0):
    loader = MixtureLoader(
        make_parts(databases, fields),
        batch_size=8,
        num_cells=[24],
        num_neighbors=4,
        negate_rate=0.5,
        seed=1,
        num_workers=num_workers,
    )
    return [cells for cells, _ in zip(loader, range(4))]


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
def test_cells_are_left_out(databases, config):
    # The label stays, and with it what is asked.
    fields = config(1, drop_rate=0.9, masking={'target': 1.0})
    whole = task_batches(databases, config(1, masking={'target': 1.0}))
    left = task_batches(databases, fields)
    for one, two in zip(left, whole):
        assert one.input_id.tolist() == two.input_id.tolist()
        assert one.num_nodes < 0.9 * two.num_nodes
        assert torch.equal(one.target[one.mask], two.target[two.mask])
    for workers in (1, 2):
        for one, two in zip(left, task_batches(databases, fields, workers)):
            assert torch.equal(one.value, two.value)
            assert torch.equal(one.column_embedding, two.column_embedding)


def test_rows_without_a_task_keep_their_cells(databases, config):
    fields = config(1, drop_rate=0.9, unlabelled=['kiosk'])
    plain = config(1, unlabelled=['kiosk'])
    for one, two in zip(make_parts(databases, fields), make_parts(databases, plain)):
        assert (repr(one.transform) == repr(two.transform)) == (one.database == 'kiosk')


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'episode_steps': -1}, r"'episode_steps' must be 0, or at least 2 \(got -1\)"),
        ({'episode_steps': 1}, r"'episode_steps' must be 0, or at least 2 \(got 1\)"),
        ({'episode_rate': 0.0}, r"'episode_rate' must lie in \(0, 1\] \(got 0.0\)"),
        (
            {
                'num_steps': 100,
                'synthetic_pool': 2,
                'synthetic_every': 100,
                'episode_steps': 30,
            },
            r"'synthetic_every' must be a multiple of .* \(got 100, 30\)",
        ),
        ({'drop_rate': 1.0}, r"'drop_rate' must lie in \[0, 1\) \(got 1.0\)"),
        ({'episode_steps': 2}, r"'num_steps' must be as many .*\(got 1, 2\)"),
        (
            {'drop_rate': 0.1, 'masking': {'target': 1.0, 'foreign_key': 0.5}},
            "'drop_rate' may leave nothing of a row whose link is hidden",
        ),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**{'num_steps': 1} | fields)


def test_a_small_share_may_be_left_out(databases, config):
    whole, left = (
        sum(
            cells.num_nodes for cells in task_batches(databases, config(1, drop_rate=r))
        )
        for r in (0.0, 0.005)
    )
    assert 0.95 * whole < left <= whole
