from pathlib import Path

import numpy as np
import pytest

from benchmark.relbench import run as harness
from benchmark.relbench.metrics import score
from benchmark.relbench.models import MODELS
from benchmark.relbench.models.ensemble import Ensemble
from benchmark.relbench.models.relational_transformer import JointRelationalTransformer
from benchmark.relbench.results import load_predictions, read_lines, save_predictions

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'
MEMBERS = ['entity-mean-known', 'last-3-known']


def sweep(out, *models, more=()):
    harness.main(
        ['--db', str(REL_F1), '--task', 'driver-position', '--out', str(out), *more]
        + ['--seeds', '3', '--model', *models]
    )


@pytest.fixture
def out(tmp_path, monkeypatch):
    members = {name: MODELS[name]().__class__ for name in MEMBERS}
    monkeypatch.setitem(MODELS, 'pair', lambda: Ensemble(members))
    sweep(tmp_path / 'lines.jsonl', *MEMBERS)
    return tmp_path / 'lines.jsonl'


def lines_by_name(out):
    lines = [x for x in read_lines(out) if x['protocol'] == 'rolling']
    return {line['model']: line for line in lines}


def predictions(out, name):
    return load_predictions(lines_by_name(out)[name], out.parent)


def replace_predictions(out, name, val):
    # A run of a member whose predictions are others.
    for line in [x for x in read_lines(out) if x['model'] == name]:
        path = out.parent / line['predictions']
        with np.load(path) as arrays:
            kept = dict(arrays) | {'val_rolling': val.astype(np.float32)}
        save_predictions(path, kept)
        label = kept['val_label'].astype(float)
        for split, kind in (('val', 'rolling'),):
            if line['protocol'] == kind:
                line['metrics'][split] = score(
                    'regression', label, kept['val_rolling'].astype(float),
                    line['train_std'],
                )  # fmt: skip
        harness.append_lines(out, [line])


def test_the_mean_unless_val_tells_a_member_apart(out):
    first, second = (predictions(out, name) for name in MEMBERS)
    label = first['val'][0]
    mean = {split: (first[split][1] + second[split][1]) / 2 for split in first}

    # Errors of opposite sign cancel: the mean is exact where neither member is.
    replace_predictions(out, MEMBERS[0], label + 1.0)
    replace_predictions(out, MEMBERS[1], label - 1.0)
    sweep(out, 'pair')
    line, members = lines_by_name(out)['pair'], lines_by_name(out)
    assert line['hyper_parameters']['chosen'] == MEMBERS
    assert line['metrics']['val']['nmae'] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(predictions(out, 'pair')['test'][1], mean['test'], 1e-6)
    times = [members[name]['seconds']['fit'] for name in MEMBERS]
    assert line['seconds']['fit'] == pytest.approx(sum(times), abs=2e-3)
    assert line['minutes'] == sum(members[name]['minutes'] for name in MEMBERS)

    # Two rows of many that are better are not enough, all of them are.
    better = label + 1.0
    better[:2] = label[:2]
    replace_predictions(out, MEMBERS[0], better)
    replace_predictions(out, MEMBERS[1], label + 1.0)
    sweep(out, 'pair')
    assert lines_by_name(out)['pair']['hyper_parameters']['chosen'] == MEMBERS
    replace_predictions(out, MEMBERS[0], label)
    sweep(out, 'pair')
    assert lines_by_name(out)['pair']['hyper_parameters']['chosen'] == MEMBERS[:1]
    # Labels of test choose nothing: the predictions for them stayed the same.
    expected = first['test'][1]
    np.testing.assert_allclose(predictions(out, 'pair')['test'][1], expected, 1e-6)


def test_members_that_did_not_run_and_leaks(out, tmp_path, capsys):
    for more in (['--check-leaks'], ['--out', str(tmp_path / 'new.jsonl')]):
        with pytest.raises(SystemExit, match='1 runs did not end well'):
            sweep(out, 'pair', more=more)
    text = capsys.readouterr().err
    assert 'check these: entity-mean-known, last-3-known' in text
    assert 'those of entity-mean-known, last-3-known with seed 3 are not in' in text
    assert 'pair' not in lines_by_name(out)


def test_members_that_cannot_do_the_task_are_left_out():
    ensemble = MODELS['relational-transformer-ensemble']()
    kind = 'multiclass_classification'
    assert kind in ensemble.kinds
    assert kind not in JointRelationalTransformer.kinds
    assert 'recommendation' not in ensemble.kinds
