import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICK = ['--epochs', 1, '--limit', 1, '--num_neighbors', 2, '--channels', 8]


def assert_scores(metrics):
    assert list(metrics) == ['val', 'test']
    assert all(0.2 < score < 0.95 for score in metrics.values())


def test_rdl_gnn(run, tmp_path):
    out = run('rdl_gnn.py', *QUICK, '--json', tmp_path / 'out.json')
    assert 'driver-dnf: 97,606 rows, 455,432 edges' in out
    figures = json.loads((tmp_path / 'out.json').read_text())
    assert_scores(figures['metrics'])
    assert figures['baselines']['test']['entity_mean']['roc_auc'] == pytest.approx(
        0.7794, abs=1e-4
    )
    assert f'GraphSAGE             {figures["metrics"]["val"]:.4f}' in out


def test_rdl_gnn_with_relational_attention(run, tmp_path):
    out = run(
        'rdl_gnn_with_relational_attention.py',
        *QUICK,
        *('--seeds', 3, '--json', tmp_path / 'out.json'),
    )
    runs = json.loads((tmp_path / 'out.json').read_text())['runs']
    assert [(run['model'], run['seed']) for run in runs] == [
        ('GraphSAGE', 3),
        ('with attention', 3),
    ]
    for figures in runs:
        assert_scores(figures['metrics'])
        assert all(f'{score:.4f}' in out for score in figures['metrics'].values())
    assert runs[0]['metrics'] != runs[1]['metrics']
