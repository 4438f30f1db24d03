import numpy as np
import pytest

from benchmark.relbench.duels import duels
from benchmark.relbench.table import Cell


def line(model, val, test, seed=0, protocol='rolling', kind='binary_classification'):
    metric = 'nmae' if kind == 'regression' else 'roc_auc'
    return {
        'database': 'shop',
        'task': 'churn',
        'model': model,
        'seed': seed,
        'protocol': protocol,
        'kind': kind,
        'metrics': {'val': {metric: val}, 'test': {metric: test}},
    }


def row(text, models):
    found = [one for one in text.splitlines() if one.startswith(f'| {models} |')]
    assert len(found) == 1
    return [cell.strip() for cell in found[0].strip('|').split('|')][1:]


@pytest.mark.parametrize('kind', ['binary_classification', 'regression'])
def test_models_are_compared_on_test(kind, tmp_path):
    sign = -1 if kind == 'regression' else 1
    lines = [
        line('relational-transformer', 0.5 + 0.1 * sign, 0.5, kind=kind),
        line('relational-transformer-joint', 0.5, 0.5 + 0.2 * sign, kind=kind),
        line('lightgbm-relational', 0.5, 0.5 + 0.1 * sign, kind=kind),
    ]
    text = duels({('shop', 'churn'): lines}, tmp_path, bold=False)
    lost, won = ['rolling', '0 of 1', '', 'churn'], ['rolling', '1 of 1', 'churn', '']
    assert row(text, 'relational-transformer; lightgbm-relational') == lost
    assert row(text, 'relational-transformer-joint; lightgbm-relational') == won
    lines[1]['metrics']['test'] = lines[2]['metrics']['test']  # As good is enough.
    text = duels({('shop', 'churn'): lines}, tmp_path, bold=False)
    assert row(text, 'relational-transformer-joint; lightgbm-relational') == won
    # There is no line of it.
    assert 'relational-transformer-ensemble' not in text


def test_means_over_seeds_by_protocol(tmp_path):
    lines = [
        line('relational-transformer', 0.5, 0.9, seed=0),
        line('relational-transformer', 0.5, 0.6, seed=1),
        line('lightgbm-relational', 0.5, 0.7),
        line('relational-transformer', 0.5, 0.6, protocol='frozen'),
        line('lightgbm-relational', 0.5, 0.7, protocol='frozen'),
    ]
    text = duels({('shop', 'churn'): lines}, tmp_path, bold=False)
    found = [one for one in text.splitlines() if 'joint' not in one and '; ' in one]
    assert ['1 of 1' in one for one in found] == [True, False]
    assert duels({('shop', 'churn'): lines[:2]}, tmp_path, bold=False) == ''


def test_what_a_bootstrap_tells_apart_is_bold(tmp_path, monkeypatch):
    lines = [
        line('relational-transformer', 0.5, 0.9),
        line('lightgbm-relational', 0.5, 0.7),
        line('rdl-gnn', 0.5, 0.7),
    ]
    curves = {
        'relational-transformer': np.linspace(0.8, 1.0, 100),
        'lightgbm-relational': np.linspace(0.6, 0.8, 100),
        'rdl-gnn': np.linspace(0.5, 0.9, 100)[::-1] + np.linspace(0.4, 0, 100),
    }

    def resampled_scores(cells: list[Cell], folder):
        assert folder == tmp_path
        return [curves[cell.lines[0]['model']] for cell in cells]

    monkeypatch.setattr('benchmark.relbench.duels.resampled_scores', resampled_scores)
    text = duels({('shop', 'churn'): lines}, tmp_path)
    assert row(text, 'relational-transformer; lightgbm-relational')[2] == '**churn**'
    assert row(text, 'relational-transformer; rdl-gnn')[2] == 'churn'
    # A task that is lost is bold, too, and without a rival there is no row.
    lines[0]['metrics']['test']['roc_auc'] = 0.6
    curves['relational-transformer'] -= 0.4
    text = duels({('shop', 'churn'): lines}, tmp_path)
    assert row(text, 'relational-transformer; lightgbm-relational')[1:] == [
        '0 of 1', '', '**churn**',
    ]  # fmt: skip
    assert 'entity-mean-known' not in text
