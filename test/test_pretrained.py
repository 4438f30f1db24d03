r"""The model in the package, on a database that it has never seen."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.cli.app import app
from torch_geometric_rfm.testing import toy_database, toy_task
from torch_geometric_rfm.train.checkpoint import PRETRAINED
from torch_geometric_rfm.train.evaluation import draw_rows, score_rows
from torch_geometric_rfm.train.train_config import TrainConfig

REL_F1 = Path(__file__).parents[1] / 'examples' / 'data' / 'rel-f1'


@pytest.fixture(scope='module')
def predictor():
    return RelationalPredictor.from_pretrained()


def test_it_is_small_and_its_card_is_whole(predictor):
    path = PRETRAINED / 'model.safetensors'
    assert path.stat().st_size <= 12e6
    with safe_open(path, 'pt') as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kinds == {'F16'}
    card = (PRETRAINED / 'README.md').read_text()
    seen = predictor.training['databases']
    assert len(seen) >= 10
    assert 'rel-f1' not in seen
    for name in seen:
        assert name.startswith('synthetic-') or name in card
    for word in ('licence', 'Recipe', 'Limits', 'driver-top3'):
        assert word in card


def test_it_predicts_a_database_it_has_never_seen(predictor):
    scores = {}
    for task in ('driver-top3', 'driver-dnf', 'driver-position'):
        store = predictor.open_task(REL_F1, task)
        rows = draw_rows(store, 'test', 200, seed=0)
        scores[task] = score_rows(
            predictor.model, store, rows, 'rolling', **predictor.sampling
        )
    # The least that the full figures of its card leave to chance in 200 rows.
    assert scores['driver-top3']['roc_auc'] > 0.8
    assert scores['driver-dnf']['roc_auc'] > 0.65
    assert scores['driver-position']['nmae'] < 0.55


def test_it_is_trained_further_from_all_that_it_learned(predictor, tmp_path):
    factor = predictor.training['shrink']['boolean']
    assert 0 < factor < 1
    predictor.save_pretrained(tmp_path)  # Saved as it is, it is still known.
    again = RelationalPredictor.from_pretrained(tmp_path)
    weight = {}
    for name in ('boolean', 'number'):
        weight[name] = again.model.decoder.lins[name].weight.detach().clone()
    db = toy_database()
    options = {'minutes': None, 'num_steps': 1, 'lr': 0.0, 'show_progress': False}
    for _ in range(2):  # Once, however often it is trained.
        again.fit(db, toy_task(db), **options)
        head = again.model.decoder.lins
        assert torch.allclose(head['boolean'].weight, weight['boolean'] / factor)
        assert torch.equal(head['number'].weight, weight['number'])


def run(*args, code=0):
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


def test_commands_use_it_when_no_model_is_named(tmp_path):
    figures = tmp_path / 'figures.json'
    run('evaluate', REL_F1, 'driver-top3', '--json', figures)
    figures = json.loads(figures.read_text())
    assert figures['metrics']['roc_auc'] > 0.8
    out = tmp_path / 'predictions.csv'
    run('predict', REL_F1, 'driver-top3', '--split', 'test', '--out', out)
    assert len(out.read_text().splitlines()) == 727
    run('finetune', REL_F1, 'driver-top3', '--out', tmp_path / 'run', '--minutes', 0.01)
    weights = load_file(PRETRAINED / 'model.safetensors')
    further = load_file(tmp_path / 'run' / 'model.safetensors')
    name = 'encoder.lins.column.weight'
    start = weights[name].float()
    # The start itself, where a step was no better on val.
    assert (further[name] - start).norm() < 0.2 * start.norm()
    with (tmp_path / 'run' / 'metrics.csv').open() as file:
        steps = [int(row['step']) for row in csv.DictReader(file)]
    assert steps[0] == 0 < steps[-1]
    config = json.loads((tmp_path / 'run' / 'config.json').read_text())
    training = config['predictor']['training']
    assert (training['drop_rate'], training['lr']) == (0.6, TrainConfig.lr)
    scratch = ('--from-scratch', '--out', tmp_path / 'new', '--minutes', 0.01)
    run('finetune', REL_F1, 'driver-top3', *scratch)
    config = json.loads((tmp_path / 'new' / 'config.json').read_text())
    assert config['predictor']['training']['drop_rate'] == 0


def test_what_it_cannot_do_is_named(tmp_path):
    arguments = ('evaluate', REL_F1, 'driver-circuit-compete')
    assert 'recommend' in run(*arguments, code=2)
    arguments = ('evaluate', REL_F1, 'driver-top3', '--text-encoder', 'minilm')
    assert 'text encoder' in run(*arguments, code=2)
