import json
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from torch_geometric_rfm.train import pretrain
from torch_geometric_rfm.train.run_state import load_state, save_state

ROOT = Path(__file__).parents[2]
RUN = """
import json, sys
from torch_geometric_rfm.train import PretrainConfig, pretrain

fields, out, *databases = sys.argv[1:]
result = pretrain(databases, out, PretrainConfig(**json.loads(fields)),
                  resume=True, show_progress=False)
print(json.dumps(result.losses))
"""


def run(databases, out, config, **kwargs):
    return pretrain(databases, out, config, show_progress=False, **kwargs)


def state_of(folder):
    return torch.load(folder / 'state.pt', weights_only=True)['state']


def same_weights(one, two):
    for name, value in one['model'].items():
        assert torch.equal(value, two['model'][name]), name
    for name, value in one['averaged'].items():
        assert torch.equal(value, two['averaged'][name]), name


@pytest.fixture
def saved(databases, tmp_path):
    for database in databases:
        database.save(tmp_path / database.name)
    return [str(tmp_path / database.name) for database in databases]


def environment():
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}


def test_a_killed_run_resumes_to_the_same_losses(config, saved, tmp_path, stops_after):
    fields = config(40_000, save_every=5, num_evals=0)
    arguments = [json.dumps(vars(fields)), str(tmp_path / 'killed'), *saved]
    process = subprocess.Popen(
        [sys.executable, '-c', RUN, *arguments], env=environment(), cwd=tmp_path
    )
    # At whatever moment this is, once it has trained for a while:
    deadline = time.monotonic() + 120
    written = tmp_path / 'killed' / 'state.pt'
    while not written.exists() or state_of(tmp_path / 'killed')['step'] < 20:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = state_of(tmp_path / 'killed')
    assert left['step'] % 5 == 0
    assert left['position'] == left['step'] == len(left['losses'])

    # The schedule is that of many steps; two more intervals will do.
    states = []
    for name in ('straight', 'killed'):
        with stops_after(left['step'] + 10):
            run(saved, tmp_path / name, fields, resume=True)
        states.append(state_of(tmp_path / name))
    straight, resumed = states
    assert straight['losses'] == resumed['losses']
    assert straight['losses'][: left['step']] == left['losses']
    same_weights(straight, resumed)


def test_an_interrupt_ends_the_step_and_saves(databases, config, tmp_path, monkeypatch):
    from torch_geometric_rfm.train.report import _SilentBar

    straight = run(databases, tmp_path / 'straight', config(9))
    calls = []

    def update(self, *args):
        calls.append(args)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_SilentBar, 'update', update)
    first = run(databases, tmp_path / 'cut', config(9))
    assert first.interrupted
    assert state_of(tmp_path / 'cut')['step'] == first.steps < 9
    again = run(databases, tmp_path / 'cut', config(9), resume=True)
    assert not again.interrupted
    assert again.losses == straight.losses
    same_weights(state_of(tmp_path / 'straight'), state_of(tmp_path / 'cut'))


def test_minutes_count_over_all_parts_of_a_run(databases, config, tmp_path):
    fields = config(None, minutes=0.02, save_every=2)
    first = run(databases, tmp_path, fields)
    again = run(databases, tmp_path, fields, resume=True)
    assert again.steps == first.steps
    assert again.seconds >= 1.2


def test_a_run_from_before_an_option(tmp_path):
    save_state(tmp_path, {'step': 3}, {'lr': 0.1, 'model': {'channels': 8}})
    defaults = {'seed': 0, 'model': {'channels': 128, 'copy_attention': []}}
    now = {'lr': 0.1, 'seed': 0, 'model': {'channels': 8, 'copy_attention': []}}
    state = load_state(tmp_path, now, defaults)
    assert state is not None
    assert state['step'] == 3
    for changed in (
        {'seed': 1},
        {'model': {**now['model'], 'copy_attention': ['text']}},
    ):
        with pytest.raises(
            ValueError, match=f'another configuration: {[*changed][0]} '
        ):
            load_state(tmp_path, now | changed, defaults)


def test_a_run_of_another_configuration(databases, config, tmp_path):
    run(databases, tmp_path, config(4))
    with pytest.raises(FileExistsError, match='holds a run already. Resume it'):
        run(databases, tmp_path, config(4))
    with pytest.raises(ValueError, match=r'another configuration: lr 0.0015 \(got 0.1'):
        run(databases, tmp_path, config(4, lr=0.1), resume=True)
    with pytest.raises(ValueError, match=r'another configuration: databases .*parts'):
        run(databases[:1], tmp_path, config(4), resume=True)
    # What does not change the losses may differ:
    run(databases, tmp_path, config(4, accumulate=2, save_every=1), resume=True)
    content = torch.load(tmp_path / 'state.pt', weights_only=True)
    torch.save(content | {'format_version': 99}, tmp_path / 'state.pt')
    with pytest.raises(ValueError, match='has format 99, this version reads up to 1'):
        run(databases, tmp_path, config(4), resume=True)
    (tmp_path / 'state.pt').write_bytes(b'PK')
    with pytest.raises(ValueError, match='is damaged or no state of a run'):
        run(databases, tmp_path, config(4), resume=True)


def test_a_full_disk_leaves_the_checkpoint_before(
    databases, config, tmp_path, monkeypatch
):
    whole = run(databases, tmp_path / 'whole', config(8, num_evals=0))
    sizes = namedtuple('sizes', 'f_bavail f_frsize')
    calls = []

    def statvfs(folder):
        calls.append(folder)
        return sizes(10**6 if len(calls) < 3 else 100, 4096)

    monkeypatch.setattr(os, 'statvfs', statvfs)
    out = tmp_path / 'full'
    with pytest.raises(OSError, match=r'no room for the checkpoint of step 8 .* free'):
        run(databases, out, config(8, num_evals=0))
    assert state_of(out)['step'] == 4
    assert {path.name for path in out.iterdir()} == {
        'config.json',
        'model.safetensors',
        'state.pt',
    }
    monkeypatch.undo()
    resumed = run(databases, out, config(8, num_evals=0), resume=True)
    assert resumed.losses == whole.losses


def test_a_write_that_fails_leaves_the_checkpoint_before(
    databases, config, tmp_path, monkeypatch
):
    original = torch.save

    def save(content, path):
        original(content, path)
        if content['state']['step'] == 8:
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', save)
    with pytest.raises(OSError, match='No space left'):
        run(databases, tmp_path, config(8, num_evals=0))
    assert state_of(tmp_path)['step'] == 4
    assert not [path for path in tmp_path.iterdir() if path.name.endswith('.part')]


def test_two_processes_equal_one(config, saved, tmp_path):
    fields = config(6, num_evals=1, save_every=3)
    one = run(saved, tmp_path / 'one', fields)
    out = subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2'),
            *(
                '--rdzv-backend',
                'c10d',
                '--rdzv-endpoint',
                'localhost:0',
                '--no-python',
            ),
            *(sys.executable, '-c', RUN),
            *(json.dumps(vars(fields)), str(tmp_path / 'two'), *saved),
        ],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert out.returncode == 0, out.stderr
    one_state, two = state_of(tmp_path / 'one'), state_of(tmp_path / 'two')
    assert two['losses'] == pytest.approx(one.losses, rel=1e-5)
    for name, value in one_state['averaged'].items():
        assert torch.allclose(value, two['averaged'][name], atol=1e-5), name
    for name, figures in one_state['metrics'].items():
        assert two['metrics'][name] == pytest.approx(figures, rel=1e-3), name
