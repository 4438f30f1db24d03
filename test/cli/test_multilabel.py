import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.cli.app import app
from torch_geometric_rfm.data import load_task, multilabel_tasks
from torch_geometric_rfm.metrics import evaluate_baselines

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'
runner = CliRunner()


def run(*args, code=0):
    result = runner.invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


def make_database(folder, constant=None):
    r"""rel-f1 with a task of two labels: driver-dnf, and whether a driver is even,
    the second all true in one split.
    """
    folder.mkdir()
    for path in REL_F1.iterdir():
        if path.name != 'tasks':
            (folder / path.name).symlink_to(path)
    source, target = REL_F1 / 'tasks' / 'driver-dnf', folder / 'tasks' / 'driver-tags'
    target.mkdir(parents=True)
    manifest = yaml.safe_load((source / 'manifest.yaml').read_text())
    manifest |= {'name': 'driver-tags', 'kind': 'external', 'target_col': 'tags'}
    manifest |= {'task_type': 'multilabel_classification'}
    for key in ('sql', 'timedelta', 'num_eval_timestamps'):
        manifest.pop(key, None)
    (target / 'manifest.yaml').write_text(yaml.safe_dump(manifest))
    for split in ('train', 'val', 'test'):
        frame = pd.read_parquet(source / f'{split}.parquet')[-400:]
        dnf, even = frame.pop('did_not_finish'), frame['driverId'] % 2 == 0
        even |= split == constant
        frame['tags'] = list(np.stack([dnf, even], axis=1).astype(np.int64))
        frame.to_parquet(target / f'{split}.parquet', index=False)
    return folder


@pytest.fixture(scope='module')
def database(tmp_path_factory):
    return make_database(tmp_path_factory.mktemp('multilabel') / 'rel-f1')


def test_from_training_to_predictions(database, tmp_path):
    figures, out = tmp_path / 'figures.json', tmp_path / 'predictions.csv'
    horizon = ['--horizon', '30 days']
    text = run(
        'finetune', database, 'driver-tags', *horizon, '--from-scratch', '--minutes',
        0.02, '--num-cells', 32, '--text-encoder', 'hashing', '--out',
        tmp_path / 'run', '--json', figures,
    )  # fmt: skip
    figures = json.loads(figures.read_text())
    assert figures['task'] == 'driver-tags'
    scores = [one['roc_auc'] for one in figures['labels'].values()]
    assert list(figures['labels']) == ['label 0', 'label 1']
    assert figures['metrics']['roc_auc'] == np.mean(scores)
    assert f'label 0: roc_auc {scores[0]:.4f}' in text
    tasks = multilabel_tasks(load_task(database, 'driver-tags'), horizon='30 days')
    store = RelationalPredictor(text_encoder='hashing').open_task(database, tasks[0])
    stores = [store, store.store.with_task(tasks[1])]
    expected = [evaluate_baselines(one, 'test')['entity_mean'] for one in stores]
    expected = np.mean([one['roc_auc'] for one in expected])
    assert figures['baselines']['entity_mean']['roc_auc'] == expected
    model = ['--model', tmp_path / 'run']
    ask = ['predict', database, 'driver-tags', *horizon, *model, '--split', 'test']
    run(*ask, '--out', out)
    before = pd.read_csv(out)
    text = run(*ask, '--calibrate', '--out', out)
    assert 'driver-tags label 0: temperature' in text
    frame = pd.read_csv(out)
    # A model this raw says a half of everything, also of what is rarer.
    assert (frame['probability_label 0'] != before['probability_label 0']).all()
    assert len(frame) == figures['num_rows'] == 400
    assert list(frame)[2:] == ['probability_label 0', 'probability_label 1']
    assert frame.iloc[:, 2:].stack().between(0, 1).all()
    again = tmp_path / 'again.json'
    run('evaluate', database, 'driver-tags', *horizon, *model, '--json', again)
    assert json.loads(again.read_text())['labels'] == figures['labels']


def test_labels_that_are_all_the_same(tmp_path):
    options = ['--horizon', '30 days', '--from-scratch', '--minutes', 0.01]
    options += ['--num-cells', 32, '--text-encoder', 'hashing']
    database = make_database(tmp_path / 'test', constant='test')
    figures = tmp_path / 'figures.json'
    text = run('finetune', database, 'driver-tags', *options, '--out',
               tmp_path / 'run', '--json', figures)  # fmt: skip
    assert "'driver-tags label 1' has labels of one class alone (got 1)" in text
    assert json.loads(figures.read_text())['split'] == 'val'
    assert 'one class alone' in run('evaluate', database, 'driver-tags', '--model',
        tmp_path / 'run', '--horizon', '30 days', code=2)  # fmt: skip
    database = make_database(tmp_path / 'train', constant='train')
    with pytest.warns(UserWarning, match="left out: label 'label 1' of task 'driver-t"):
        run('finetune', database, 'driver-tags', *options, '--out',
            tmp_path / 'one', '--json', figures)  # fmt: skip
    assert list(json.loads(figures.read_text())['labels']) == ['label 0']


def test_inspect(database):
    text = run('inspect', database, '--json', database.parent / 'summary.json')
    assert 'driver-tags' in text
    summary = json.loads((database.parent / 'summary.json').read_text())
    (task,) = [one for one in summary['tasks'] if one['name'] == 'driver-tags']
    assert task['type'] == 'multilabel_classification'
    # An external task does not say when its labels become known.
    assert task['horizon'] == 'needs horizon'
    assert 'multilabel_tasks' not in task['problem']
