import json
import sys

import pytest
import torch

from benchmark import leave_one_out
from benchmark.leave_one_out_report import Figures, plot, table
from torch_geometric_rfm.data import PreparedDatabase
from torch_geometric_rfm.testing import toy_database, toy_task, toy_task_store


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp('leave_one_out')
    for seed, name in enumerate(('shop', 'kiosk')):
        db = toy_database(seed)
        store = toy_task_store(db=db)
        tasks = [store.task, toy_task(db, 'regression')]
        PreparedDatabase(name, store.store, tasks).save(folder / name)
    config = {
        'model': {'channels': 16, 'num_layers': 1, 'heads': 2, 'ff_channels': 16},
        'num_cells': [16],
        'batch_size': 8,
        'masking': {'target': 1.0},
        'weights': {'shop': 0.5, 'kiosk/*': 2.0},
        'num_evals': 0,
    }
    (folder / 'config.json').write_text(json.dumps(config))
    arguments = [
        folder / 'shop', folder / 'kiosk', '--leave-out', 'shop', '--config',
        folder / 'config.json', '--steps', 3, '--continued-steps', 2, '--labels', 20,
        '--fit-steps', 4, '--fit-evals', 2, '--out', folder / 'out',
    ]  # fmt: skip
    arguments = list(map(str, arguments))

    def run():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', ['leave_one_out.py', *arguments])
            leave_one_out.main()
        return (folder / 'out' / 'results.jsonl').read_text()

    text = run()
    return folder, text, run


def test_every_way_is_scored_once(results):
    folder, text, run = results
    lines = [json.loads(line) for line in text.splitlines()]
    ways = {(line['way'], line['labels']) for line in lines}
    everything = max(labels for _, labels in ways)
    tuned = {
        (way, n)
        for way in ('fine-tuned', 'scratch', 'fine-tuned curve', 'scratch curve')
        for n in (20, everything)
    }
    assert ways >= tuned | {('zero-shot', 0), ('continued', 0)}
    assert {line['database'] for line in lines} == {'shop'}
    assert run() == text
    # What was killed while it wrote a line goes on before it.
    path = folder / 'out' / 'results.jsonl'
    whole = text.splitlines(keepends=True)
    path.write_text(''.join(whole[:-1]) + whole[-1][:20])
    assert len(run().splitlines()) == len(whole)


def test_the_left_out_database_was_not_trained_on(results):
    folder, _, _ = results
    config = json.loads((folder / 'out' / 'without-shop' / 'config.json').read_text())
    assert config['predictor']['training']['databases'] == ['kiosk']
    assert config['predictor']['training']['weights'] == {'kiosk/*': 2.0}
    state = torch.load(folder / 'out' / 'continued-shop' / 'state.pt')
    parts = json.loads(state['settings'])['parts']
    tables = {part.split("'")[1] for part in parts}
    assert tables == {'customers', 'orders', 'shops'}


def test_several_are_left_out_together(results, tmp_path, monkeypatch):
    folder, _, _ = results
    db = toy_database(2)
    store = toy_task_store(db=db)
    PreparedDatabase('stall', store.store, [store.task]).save(tmp_path / 'stall')
    arguments = [
        folder / 'shop', folder / 'kiosk', tmp_path / 'stall', '--leave-out', 'shop',
        'kiosk', '--together', '--config', folder / 'config.json', '--steps', 2,
        '--continued-steps', 0, '--fit-steps', 0, '--out', tmp_path / 'out',
    ]  # fmt: skip
    monkeypatch.setattr(sys, 'argv', ['leave_one_out.py', *map(str, arguments)])
    leave_one_out.main()
    out = tmp_path / 'out' / 'without-shop-kiosk'
    training = json.loads((out / 'config.json').read_text())['predictor']['training']
    assert training['databases'] == ['stall']
    assert training['weights'] == {}
    text = (tmp_path / 'out' / 'results.jsonl').read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {(line['database'], line['way']) for line in lines} == {
        ('shop', 'zero-shot'),
        ('kiosk', 'zero-shot'),
    }
    test, val = (Figures(lines, split) for split in ('test', 'val'))
    assert len(test.tasks) == len(val.tasks) == 4
    assert test.tasks != val.tasks
    assert 'scratch' not in table(test)


def run_stages(folder, tmp_path, monkeypatch, steps, continued=0, **second):
    config = json.loads((folder / 'config.json').read_text()) | second
    del config['model']
    (tmp_path / 'second.json').write_text(json.dumps(config))
    arguments = [
        folder / 'shop', folder / 'kiosk', '--leave-out', 'shop', '--config',
        folder / 'config.json', tmp_path / 'second.json', '--steps', *steps,
        '--continued-steps', continued, '--fit-steps', 0, '--out', tmp_path / 'out',
    ]  # fmt: skip
    monkeypatch.setattr(sys, 'argv', ['leave_one_out.py', *map(str, arguments)])
    leave_one_out.main()


def test_stages_start_from_the_one_before(results, tmp_path, monkeypatch):
    run_stages(results[0], tmp_path, monkeypatch, (2, 5), episode_steps=2)
    first, last = (
        torch.load(tmp_path / 'out' / name / 'state.pt')
        for name in ('without-shop-stage-1', 'without-shop')
    )
    assert (first['state']['step'], last['state']['step']) == (2, 5)
    assert json.loads(last['settings'])['init'].endswith('without-shop-stage-1')
    for state in (first, last):
        settings = json.loads(state['settings'])
        assert not any('shop' in part for part in settings['parts'])
        assert any('kiosk' in part for part in settings['parts'])
    assert (tmp_path / 'out' / 'results.jsonl').read_text()


def test_bad_stages(results, tmp_path, monkeypatch, capsys):
    folder, _, _ = results
    config = str(folder / 'config.json')
    for arguments, message in (
        (
            ['--config', config, '--steps', '2', '3'],
            '--steps must be given for 1 stages',
        ),
        (['--config', config], '--minutes or --steps must be given'),
        (
            ['--config', config, config, '--steps', '2', '3'],
            "leave out 'model' (got {'c",
        ),
    ):
        command = ['leave_one_out.py', str(folder / 'shop'), *arguments]
        monkeypatch.setattr(sys, 'argv', [*command, '--out', str(tmp_path / 'out')])
        with pytest.raises(SystemExit):
            leave_one_out.main()
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('stop', [1, 3])
def test_what_was_interrupted_is_not_built_upon(results, tmp_path, monkeypatch, stop):
    original, calls = leave_one_out.pretrain, []

    def pretrain(*args, **kwargs):
        calls.append(args)
        result = original(*args, **kwargs)
        result.interrupted = len(calls) == stop
        return result

    monkeypatch.setattr(leave_one_out, 'pretrain', pretrain)
    with pytest.raises(SystemExit, match='was interrupted; the same call goes on'):
        run_stages(results[0], tmp_path, monkeypatch, (2, 3), continued=2)
    assert len(calls) == stop
    assert (tmp_path / 'out' / 'without-shop').exists() == (stop == 3)
    path = tmp_path / 'out' / 'results.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    ways = {json.loads(line)['way'] for line in lines}
    assert ways == ({'zero-shot'} if stop == 3 else set())


def test_report(results, tmp_path):
    lines = [json.loads(line) for line in results[1].splitlines()]
    figures = Figures(lines)
    assert len(figures.tasks) == 2
    text = table(figures)
    assert 'Zero-shot beats the best simple prediction on' in text
    for key in figures.tasks:
        zero = figures.score(key, 'zero-shot', 0)
        assert f'{zero:.3f}' in text
        sign = 1 if figures.metric(key) == 'roc_auc' else -1
        found = figures.baselines[key]
        simple = ('global_mean', 'global_median', 'entity_mean')
        best = max(sign * found[n][figures.metric(key)] for n in simple if n in found)
        assert sign * figures.floor(key) == best
        best = max(sign * scores[figures.metric(key)] for scores in found.values())
        assert sign * figures.floor(key, simple=False) == best
    for n in (20, max(figures.most.values())):
        pairs = [
            [figures.score(key, way, n) for way in ('fine-tuned', 'scratch')]
            for key in figures.tasks
        ]
        signs = [1 if figures.metric(k) == 'roc_auc' else -1 for k in figures.tasks]
        ahead = sum(sign * one > sign * two for sign, (one, two) in zip(signs, pairs))
        assert f'{"20" if n == 20 else "all"} on {ahead} of 2' in text
    plot(figures, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').stat().st_size > 10_000
