import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from torch_geometric_rfm.cli.app import app

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'
runner = CliRunner()


def run(*args, code=0):
    result = runner.invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


@pytest.fixture(scope='module')
def database(tmp_path_factory):
    r"""rel-f1 with a task of two labels: driver-dnf, and whether a driver is even."""
    folder = tmp_path_factory.mktemp('multilabel') / 'rel-f1'
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
        frame['tags'] = list(np.stack([dnf, even], axis=1).astype(np.int64))
        frame.to_parquet(target / f'{split}.parquet', index=False)
    return folder


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
    # That of a driver who is even is known from its past.
    assert figures['baselines']['entity_mean']['roc_auc'] > 0.7
    model = ['--model', tmp_path / 'run']
    run('predict', database, 'driver-tags', *horizon, *model, '--split', 'test',
        '--calibrate', '--out', out)  # fmt: skip
    frame = pd.read_csv(out)
    assert len(frame) == figures['num_rows'] == 400
    assert list(frame)[2:] == ['probability_label 0', 'probability_label 1']
    assert frame.iloc[:, 2:].stack().between(0, 1).all()
    again = tmp_path / 'again.json'
    run('evaluate', database, 'driver-tags', *horizon, *model, '--json', again)
    assert json.loads(again.read_text())['labels'] == figures['labels']
