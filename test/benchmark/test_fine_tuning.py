import json
import sys

import pytest

from benchmark import fine_tuning

CURVES = {
    'scratch': [(0, 0.5), (10, 0.7), (20, 0.8)],
    'fine-tuned': [(0, 0.6), (10, 0.8), (20, 0.75)],
    'fine-tuned briefly': [(0, 0.6), (4, 0.7)],
}


@pytest.mark.parametrize('sign', [1, -1])
def test_steps_until_as_good(sign):
    metric = {1: 'roc_auc', -1: 'nmae'}[sign]

    def run(way, shift):
        # Two seeds, of which the mean counts.
        curve = [(step, sign * (score + shift)) for step, score in CURVES[way]]
        return {'way': way, 'curve': curve, 'metric': metric, 'test': shift}

    runs = [run(way, shift) for way in CURVES for shift in (-0.1, 0.1)]
    found = fine_tuning.compare(runs)
    assert (found['steps from scratch'], found['steps fine-tuned']) == (20, 10)
    assert found['best val']['fine-tuned briefly'] == pytest.approx(sign * 0.7)
    assert found['test']['scratch'] == [-0.1, 0.1]
    worse = [one for one in runs if one['way'] != 'fine-tuned']
    worse += [run('fine-tuned', -0.1)]
    assert fine_tuning.compare(worse)['steps fine-tuned'] is None


def test_runs_that_stand_are_not_run_again(tmp_path, monkeypatch, capsys):
    asked = []

    def train(store, way, seed, args):
        if len(asked) == stop:
            raise KeyboardInterrupt
        asked.append((way, seed))
        return {'curve': CURVES[way], 'metric': 'roc_auc', 'test': 0.7}

    monkeypatch.setattr(fine_tuning, 'train', train)
    arguments = [
        'fine_tuning.py', 'examples/data/rel-f1', 'driver-top3', '--json',
        str(tmp_path / 'runs.json'), '--plot', str(tmp_path / 'runs.png'), '--seeds',
    ]  # fmt: skip
    stop = 2
    monkeypatch.setattr(sys, 'argv', [*arguments, '0'])
    with pytest.raises(KeyboardInterrupt):
        fine_tuning.main()
    stop = -1
    fine_tuning.main()
    assert asked == [(way, 0) for way in fine_tuning.WAYS]
    for seeds, new in ((['0'], []), (['0', '1'], [1])):
        asked.clear()
        monkeypatch.setattr(sys, 'argv', [*arguments, *seeds])
        fine_tuning.main()
        assert asked == [(way, seed) for seed in new for way in fine_tuning.WAYS]
    assert len(json.loads((tmp_path / 'runs.json').read_text())) == 6
    # Other weights of the package are fine-tuned anew.
    asked.clear()
    monkeypatch.setattr(fine_tuning, 'weights_digest', lambda: 'others')
    fine_tuning.main()
    assert {way for way, _ in asked} == set(fine_tuning.WAYS[1:])
    asked.clear()
    monkeypatch.setattr(sys, 'argv', [*arguments, '0', '--steps', '30'])
    fine_tuning.main()
    assert len(asked) == 3
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[0].split(' ', 1)[1])['steps fine-tuned'] == 10
    assert (tmp_path / 'runs.png').stat().st_size > 5_000
