import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from torch_geometric_rfm.cli.app import app

REL_F1 = str(Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1')
runner = CliRunner()


def run(*args, code=0):
    result = runner.invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cli')
    options = ['--minutes', 0.02, '--text-encoder', 'hashing', '--num-cells', 32]
    log = folder / 'finetune.json'
    run(
        'finetune', REL_F1, 'driver-top3', '--from-scratch', '--out', folder / 'run',
        *options, '--seed', 7, '--json', log,
    )  # fmt: skip
    return folder / 'run', json.loads(log.read_text())


def test_commands_are_as_documented():
    output = run('--help')
    for command in ('inspect', 'finetune', 'pretrain', 'predict', 'evaluate', 'audit'):
        assert command in output


def test_inspect(tmp_path):
    output = run('inspect', REL_F1, '--json', tmp_path / 'summary.json')
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert 'constructor_standings' in output
    assert 'driver-top3' in output
    assert any(task['name'] == 'driver-dnf' for task in summary['tasks'])


def test_finetune(trained):
    folder, figures = trained
    assert {path.name for path in folder.iterdir()} == {
        'columns.csv',
        'config.json',
        'metrics.csv',
        'learning_curve.png',
        'model.safetensors',
    }
    assert figures['task'] == 'driver-top3'
    assert (figures['split'], figures['protocol']) == ('test', 'rolling')
    assert figures['num_rows'] == 726
    assert figures['seed'] == 7
    assert 0 <= figures['metrics']['roc_auc'] <= 1
    assert figures['baselines']['global_mean']['roc_auc'] == 0.5
    assert figures['baselines']['entity_mean']['roc_auc'] > 0.8
    assert figures['seconds'] > 0
    assert figures['contexts_per_second'] > 0


def test_finetune_from_a_checkpoint(trained, tmp_path):
    output = run(
        'finetune', REL_F1, 'driver-top3', '--model', trained[0], '--out',
        tmp_path / 'more', '--minutes', 0.01,
    )  # fmt: skip
    assert 'roc_auc' in output
    config = json.loads((tmp_path / 'more' / 'config.json').read_text())
    assert config['predictor']['sampling']['num_cells'] == 32


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
def test_evaluate(trained, tmp_path, protocol):
    path = tmp_path / 'figures.json'
    run(
        'evaluate', REL_F1, 'driver-top3', '--model', trained[0], '--protocol',
        protocol, '--json', path,
    )  # fmt: skip
    figures = json.loads(path.read_text())
    assert figures['protocol'] == protocol
    if protocol == 'rolling':
        assert figures['metrics'] == trained[1]['metrics']
        assert figures['baselines'] == trained[1]['baselines']


def test_predict_a_split(trained, tmp_path):
    out = tmp_path / 'predictions.parquet'
    run(
        'predict', REL_F1, 'driver-top3', '--model', trained[0], '--split', 'test',
        '--out', out,
    )  # fmt: skip
    frame = pd.read_parquet(out)
    assert list(frame.columns) == ['driverId', 'date', 'prediction']
    assert len(frame) == 726
    assert frame['prediction'].between(0, 1).all()


def test_predict_entities(trained, tmp_path):
    pd.DataFrame({'driverId': [0, 1, 2]}).to_csv(tmp_path / 'who.csv', index=False)
    out = tmp_path / 'predictions.csv'
    run(
        'predict', REL_F1, 'driver-top3', '--model', trained[0], '--entities',
        tmp_path / 'who.csv', '--time', '2009-06-01', '--out', out,
    )  # fmt: skip
    frame = pd.read_csv(out)
    assert frame['driverId'].tolist() == [0, 1, 2]
    assert set(frame['date']) == {'2009-06-01'}


def test_calibrated_intervals(tmp_path):
    folder, out = tmp_path / 'run', tmp_path / 'predictions.csv'
    run(
        'finetune', REL_F1, 'driver-position', '--from-scratch', '--out', folder,
        '--minutes', 0.02, '--text-encoder', 'hashing', '--num-cells', 24,
        '--number-head', 'quantile',
    )  # fmt: skip
    output = run(
        'predict', REL_F1, 'driver-position', '--model', folder, '--split', 'test',
        '--interval', 0.9, '--calibrate', '--out', out,
    )  # fmt: skip
    assert 'quantiles shifted by' in output
    frame = pd.read_csv(out)
    assert (frame['lower'] <= frame['prediction']).all()
    assert (frame['prediction'] <= frame['upper']).all()


def test_recommendations(tmp_path):
    folder, task = tmp_path / 'run', 'driver-circuit-compete'
    run(
        'finetune', REL_F1, task, '--from-scratch', '--out', folder, '--minutes', 0.02,
        '--text-encoder', 'hashing', '--num-cells', 24, '--json', tmp_path / 'f.json',
    )  # fmt: skip
    figures = json.loads((tmp_path / 'f.json').read_text())
    assert 0 < figures['metrics']['map'] < 1
    assert figures['baselines']['recent_popularity']['map'] > 0.8
    pd.DataFrame({'circuitId': [3, 5, 8, 13]}).to_csv(tmp_path / 'where.csv')
    arguments = ['predict', REL_F1, task, '--model', folder, '--split', 'test', '--k']
    among = ['--candidates', tmp_path / 'where.csv', '--out', tmp_path / 'out.csv']
    run(*arguments, 2, *among)
    frame = pd.read_csv(tmp_path / 'out.csv')
    assert (frame.groupby(['driverId', 'date']).size() == 2).all()
    assert set(frame['circuitId']) <= {3, 5, 8, 13}
    assert 'must lie in [1, 4]' in run(*arguments, 5, *among, code=2)
    arguments[2] = 'driver-top3'
    assert 'for recommendation tasks' in run(*arguments, 2, *among, code=2)


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['evaluate', REL_F1, 'driver-wins', '--model', 'RUN'], 'driver-top3'),
        (['evaluate', REL_F1, 'driver-top3', '--model', '/no/where/x'], 'no folder'),
        (['inspect', '/nowhere'], 'nowhere'),
        (
            [
                'finetune', REL_F1, 'driver-top3', '--from-scratch', '--model', 'RUN',
                '--out', 'NEW',
            ],
            'say either',
        ),
        (
            ['finetune', REL_F1, 'driver-wins', '--from-scratch', '--out', 'NEW'],
            'driver-wins',
        ),
        (
            ['finetune', REL_F1, 'driver-top3', '--from-scratch', '--out', 'FULL'],
            'not a run',
        ),
        (
            [
                'evaluate', REL_F1, 'driver-top3', '--model', 'RUN', '--protocol',
                'frosty',
            ],
            'frosty',
        ),
        (
            ['predict', REL_F1, 'driver-top3', '--model', 'RUN', '--out', 'x.csv'],
            '--split',
        ),
    ],
)  # fmt: skip
def test_bad_input(trained, tmp_path, args, words):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'thesis.tex').write_text('precious')
    places = {
        'RUN': trained[0],
        'NEW': tmp_path / 'new',
        'FULL': tmp_path / 'full',
    }
    output = run(*(places.get(arg, arg) for arg in args), code=2)
    assert words in ' '.join(output.replace('│', ' ').split())
    assert not (tmp_path / 'new').exists()
    assert len(list((tmp_path / 'full').iterdir())) == 1
