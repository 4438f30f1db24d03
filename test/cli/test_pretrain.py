import json

import pytest
from typer.testing import CliRunner

from torch_geometric_rfm.cli.app import app
from torch_geometric_rfm.data import PreparedDatabase
from torch_geometric_rfm.testing import toy_task_store


@pytest.fixture(scope='module')
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp('databases') / 'shop'
    store = toy_task_store()
    PreparedDatabase('shop', store.store, [store.task]).save(folder)
    config = folder.parent / 'config.json'
    model = {'channels': 16, 'num_layers': 1, 'heads': 2, 'ff_channels': 16}
    config.write_text(json.dumps({'model': model, 'num_cells': [16], 'batch_size': 8}))
    return folder, config


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_pretrain_and_resume(shop, tmp_path):
    folder, config = shop
    out = ('--out', tmp_path / 'run', '--config', config, '--steps', 3)
    figures = tmp_path / 'figures.json'
    result = run('pretrain', folder, *out, '--json', figures)
    assert result.exit_code == 0, result.output
    assert json.loads(figures.read_text())['steps'] == 3
    assert 'shop: 1 tasks' in result.output
    result = run('pretrain', folder, *out)
    assert result.exit_code == 2
    assert 'Resume it (--resume)' in ' '.join(result.output.split())
    assert run('pretrain', folder, *out, '--resume').exit_code == 0


def test_synthetic_databases_are_named_by_their_seeds(shop, tmp_path):
    out = ('--out', tmp_path / 'run', '--config', shop[1], '--steps', 2)
    result = run('pretrain', 'synthetic:3', *out)
    assert result.exit_code == 0, result.output
    assert 'synthetic-3: 16 tasks' in result.output
    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    names = config['predictor']['training']['databases']
    assert names == ['synthetic-3']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere'], "database 'nowhere' cannot be used"),
        (['nowhere', '--skip-errors'], 'no tasks to train on'),
        (['SHOP', '--exclude', 'bar'], "'exclude' names unknown databases"),
        (['synthetic:4-3'], 'names no synthetic databases'),
    ],
)
def test_bad_input(shop, tmp_path, arguments, message):
    arguments = [shop[0] if a == 'SHOP' else a for a in arguments]
    result = run('pretrain', *arguments, '--steps', 1, '--out', tmp_path / 'run')
    assert result.exit_code == 2
    assert message in ' '.join(result.output.split())
    result = run('pretrain', shop[0], '--out', tmp_path / 'run')
    assert 'say how long to train' in result.output
