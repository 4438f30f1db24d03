import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_masking_strategies(run):
    out = run('masking_strategies.py', '--limit', 2, '--num_cells', 64)
    parts = re.split(r'^MaskCells', out, flags=re.MULTILINE)[1:]
    assert len(parts) == 8
    shares = [
        {name: float(x) for name, x in re.findall(r'^ +(\S+) +([\d.]+)%$', part, re.M)}
        for part in parts
    ]
    target, uniform, column, row, neighborhood, links, bert, mixture = shares
    for cells in (target, links):
        assert not any(share for name, share in cells.items() if name != 'links')
    assert 10 < links.pop('links') < 40
    # Corruption changes what cells show, not which are chosen.
    assert bert == uniform
    for cells in (uniform, column, row, neighborhood, mixture):
        assert cells['links'] == 0
        assert 10 < cells['results'] < 40


def test_masked_hetero_gnn(run):
    out = run('masked_hetero_gnn.py', '--limit', 15)
    scores = {
        name: (float(score), int(count.replace(',', '')))
        for name, score, count in re.findall(
            r'^(\w+) +(-?[\d.]+) +([\d,]+)$', out, re.M
        )
    }
    assert len(scores) == 7
    # Of what was held out, better than the mean.
    assert scores['standings'][0] > 0.1
    assert scores['constructor_standings'][0] > 0.1
    assert 15_000 < scores['results'][1] < 25_000


def test_masked_autoencoder(run):
    out = run('masked_autoencoder.py', '--limit', 6)
    figures = re.findall(r'(loss|entropy) ([\d.]+)', out)
    assert [name for name, _ in figures] == ['loss', 'entropy', 'entropy']
    assert all(0 < float(figure) < 2 for _, figure in figures)


def test_ehr_masked_pretraining(run):
    folder = ROOT.parent / 'shared' / 'data' / 'mimic-demo'
    if not folder.exists():
        pytest.skip('needs the MIMIC demo')
    sizes = ['--num_steps', 3, '--fine_tune_steps', 2, '--num_cells', 48]
    out = run('ehr_masked_pretraining.py', folder, *sizes, '--max_rows', 32)
    figures = r' +[\d.]+ +[\d.]+$'
    lines = re.findall(r'^(\S+) +(none|masked) +(\S+)' + figures, out, re.M)
    assert lines == [
        (task, way, metric)
        for task, metric in (
            ('prescriptions-route', 'accuracy'),
            ('outputs-value', 'nmae'),
            ('inputs-rate', 'nmae'),
        )
        for way in ('none', 'masked')
    ]
