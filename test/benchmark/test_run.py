import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmark.relbench import run as harness
from benchmark.relbench.averages import averaged_predictions, averaged_score
from benchmark.relbench.metrics import score
from benchmark.relbench.report import main as report_main
from benchmark.relbench.report import report
from benchmark.relbench.results import (
    KEYS,
    load_predictions,
    read_lines,
    save_predictions,
)
from benchmark.relbench.rst import to_rst

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'
MODELS = ['global-median', 'entity-mean-known', 'last-3-known']


def sweep(out, *args, model=MODELS, task='driver-position'):
    harness.main(
        ['--db', str(REL_F1), '--task', task, '--out', str(out), '--model', *model]
        + list(args)
    )


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp('results') / 'lines.jsonl'
    sweep(out, '--seeds', '3', '4')
    return out


@pytest.fixture
def copied(finished, tmp_path):
    out = tmp_path / 'lines.jsonl'
    out.write_text(finished.read_text())
    (tmp_path / 'predictions').symlink_to(finished.parent / 'predictions')
    return out


def edit(path, number, **changes):
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    lines[number - 1] |= changes
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def test_lines_of_a_sweep(finished):
    lines = read_lines(finished)
    # Models that do not draw are run once.
    assert [(line['model'], line['protocol'], line['seed']) for line in lines] == [
        (model, protocol, 3) for model in MODELS for protocol in ('rolling', 'frozen')
    ]
    for line in lines:
        assert tuple(line)[:5] == KEYS
        assert line['rows'] == {'train': 7453, 'val': 499, 'test': 760}
        assert line['machine']['cores'] >= 1
        assert line['peak_megabytes'] > 100
        assert line['versions']['relbench']
        label, prediction = load_predictions(line, finished.parent)['test']
        figures = score('regression', label, prediction, line['train_std'])
        assert figures == pytest.approx(line['metrics']['test'])
    last = next(x for x in lines if x['model'] == 'last-3-known')
    assert last['metrics']['test']['nmae'] == pytest.approx(0.387, abs=5e-4)


def test_a_run_that_stands_is_not_run_again(copied, capsys, monkeypatch):
    monkeypatch.setattr(harness, 'open_inputs', lambda *args: pytest.fail('opened'))
    before = copied.read_text()
    sweep(copied, '--seeds', '3', '4')
    assert capsys.readouterr().out.count('not run again') == len(MODELS)
    assert copied.read_text() == before


def test_an_interrupted_sweep_goes_on(copied):
    lines = copied.read_text().splitlines(keepends=True)
    copied.write_text(''.join(lines[:2]))
    sweep(copied, '--seeds', '3')
    got = [line['model'] for line in read_lines(copied)]
    assert got == [model for model in MODELS for _ in range(2)]


def test_a_crash_leaves_no_line_and_the_sweep_goes_on(tmp_path, monkeypatch, capsys):
    from benchmark.relbench.models.constants import GlobalMedian

    out = tmp_path / 'lines.jsonl'

    def crash(*args):
        raise RuntimeError('out of luck')

    monkeypatch.setattr(GlobalMedian, 'predict', crash)
    with pytest.raises(SystemExit, match='1 runs did not end well'):
        sweep(out, model=['global-median', 'global-mean'])
    assert {line['model'] for line in read_lines(out)} == {'global-mean'}
    assert not list(tmp_path.glob('predictions/*/*/global-median*'))
    assert 'out of luck' in capsys.readouterr().err


def test_leaks_are_looked_for_instead(tmp_path, capsys):
    out = tmp_path / 'lines.jsonl'
    sweep(out, '--check-leaks', model=['last-3-known'])
    assert 'rows know nothing of the future' in capsys.readouterr().out
    assert not out.exists()


def test_what_does_not_exist_or_fit_is_said_before_training(tmp_path):
    out = tmp_path / 'lines.jsonl'
    with pytest.raises(SystemExit, match=r"no task 'driver-dfn' .*driver-dnf"):
        sweep(out, task='driver-dfn')
    with pytest.raises(SystemExit, match=r"no model 'rt' \(known are: global-mean"):
        sweep(out, model=['rt'])
    with pytest.raises(SystemExit, match="'global-majority' cannot do task"):
        sweep(out, model=['global-mean', 'global-majority'])
    with pytest.raises(SystemExit, match="of type 'recommendation'.*can: popularity"):
        sweep(out, model=['lightgbm-entity'], task='driver-circuit-compete')
    with pytest.raises(SystemExit, match='must be positive'):
        sweep(out, '--minutes', '0')
    assert not out.exists()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'protocol': 'melting'}, "'protocol' must be one of"),
        ({'seed': 'three'}, "'seed' is missing or of a wrong type"),
        ({'deterministic': 1}, "'deterministic' is missing or of a wrong type"),
        ({'rows': {'val': 1, 'test': 760}}, "'rows' of val must be 499"),
        ({'metrics': {'val': {}, 'test': {}}}, "'metrics' must hold nmae of val"),
        ({'train_std': 1.0}, 'by the predictions in'),
        ({'model': 'global-median'}, 'the same run as line 1'),
    ],
)
def test_edited_lines_are_rejected_by_number(copied, changes, message):
    edit(copied, 3, **changes)
    with pytest.raises(ValueError, match=f'line 3: .*{re.escape(message)}'):
        read_lines(copied)


def test_edited_metrics_and_torn_lines_are_rejected(copied):
    line = json.loads(copied.read_text().splitlines()[4])
    line['metrics']['test']['nmae'] -= 0.1
    edit(copied, 5, metrics=line['metrics'])
    with pytest.raises(SystemExit, match='line 5: test nmae is 0.2'):
        report_main(['--results', str(copied)])
    line['metrics']['test']['nmae'] = -1.0
    edit(copied, 5, metrics=line['metrics'])
    with pytest.raises(ValueError, match='line 5: test nmae is out of range'):
        read_lines(copied)
    copied.write_text(copied.read_text()[:-30])
    edited = copied.read_text().splitlines()
    copied.write_text('\n'.join(edited[:4] + edited[5:]))
    with pytest.raises(ValueError, match='line 5: .*Remove the line'):
        read_lines(copied)


def test_report(copied, tmp_path, capsys):
    pytest.importorskip('matplotlib')
    edit(copied, 1, versions={'torch': '1.0'})
    report_main(['--results', str(copied), '--out', str(tmp_path / 'out'), '--plots'])
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert text in capsys.readouterr().out
    assert '**Different versions of torch: ' in text
    assert '| seeds | minutes | seconds | steps | commit | published, test |' in text
    assert 'Machine: ' in text
    assert '## rel-f1: published by others, test' in text
    assert '| RT-J, in context | RelBench board | rolling | 0.3875 |' in text
    # Better than every other on test, rolling, but not where all is alike.
    row = next(line for line in text.splitlines() if line.startswith('| last-3-known'))
    assert re.search(r'\*\*0\.38\d\d\*\*', row)
    assert '**' not in next(r for r in text.splitlines() if '| global-median' in r)
    assert '(MAE 4.011)' in text
    assert len(list((tmp_path / 'out').glob('rel-f1-driver-position-*.svg'))) == 2


def test_tables_of_the_docs_are_those_of_the_committed_lines():
    root = Path(__file__).parents[2]
    changed = ['git', '-C', str(root), 'diff', '--quiet', 'HEAD', '--', harness.RESULTS]
    if subprocess.run(changed, check=False).returncode == 1:
        pytest.skip('a benchmark has added lines that are not committed')
    lines = read_lines(harness.RESULTS)
    text = to_rst(report(lines, harness.RESULTS.parent, bold=False)).replace('**', '')
    written = (root / 'docs' / 'relbench_results.txt').read_text().replace('**', '')
    assert text.splitlines() == written.splitlines()


def test_interval_over_seeds(copied, capsys):
    lines = [json.loads(text) for text in copied.read_text().splitlines()]
    for line in lines[:2]:
        again = line | {'seed': 9}
        copied.write_text(copied.read_text() + json.dumps(again) + '\n')
    report_main(['--results', str(copied)])
    text = capsys.readouterr().out
    assert ' ± 0.0000' in text
    # Of two seeds alike the mean is the same again.
    mean = lines[0]['metrics']['test']['nmae']
    row = next(r for r in text.splitlines() if r.startswith('| rel-f1 | driver-pos'))
    assert f'| {mean:.4f} (2) |' in row


def test_predictions_are_averaged_and_not_their_scores(tmp_path):
    label = np.array([0.0, 1.0, 2.0])
    lines = []
    for seed, error in enumerate((1.0, -1.0)):
        path = f'predictions/{seed}.npz'
        arrays = {
            f'{split}_{key}': value
            for split in ('val', 'test')
            for key, value in (('label', label), ('rolling', label + error))
        }
        save_predictions(tmp_path / path, arrays)
        line = {'model': 'm', 'task': 't', 'kind': 'regression', 'train_std': 1.0}
        lines.append(line | {'protocol': 'rolling', 'predictions': path})
    assert averaged_score(lines, tmp_path) == 0.0
    assert averaged_score(lines[:1], tmp_path) is None
    # Counts of all runs have a mean that is one, other numbers have not.
    for shift, expected in ((1.0, [0.0, 2.0, 2.0]), (1.1, [0.55, 1.55, 2.55])):
        shifted = arrays | {'test_rolling': label + shift}
        save_predictions(tmp_path / path, shifted)
        save_predictions(
            tmp_path / lines[0]['predictions'], arrays | {'test_rolling': label}
        )
        found = averaged_predictions(lines, tmp_path, 'test')
        np.testing.assert_allclose(found[1], expected)
    save_predictions(tmp_path / path, arrays | {'test_label': label + 1})
    with pytest.raises(ValueError, match="m have other labels for test of 't'"):
        averaged_score(lines, tmp_path)


def test_without_results_or_predictions(copied, tmp_path, capsys):
    with pytest.raises(SystemExit, match='no results in'):
        report_main(['--results', str(tmp_path / 'none.jsonl')])
    (tmp_path / 'predictions').unlink()
    report_main(['--results', str(copied)])
    # Nothing is called significant that cannot be tested.
    assert '**' not in capsys.readouterr().out


def test_tables_for_the_docs():
    out = to_rst('## A\n\n| a | b |\n| --- | ---: |\n| 1 | *c* |\n\nend')
    assert out.splitlines()[:2] == ['A', '~']
    assert '   :header: "a", "b"\n\n   "1", "*c*"\n' in out
    assert np.char.count(out, 'csv-table') == 1
