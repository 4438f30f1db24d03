import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from torch_geometric_rfm.cli.app import app
from torch_geometric_rfm.data import TaskStore

REL_F1 = str(Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1')


def run(*args, code=0):
    result = CliRunner().invoke(app, ['audit', *map(str, args)])
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


def test_audit(tmp_path):
    path = tmp_path / 'new' / 'audit.json'
    output = run(
        REL_F1, 'driver-top3', '--contexts', 30, '--protocol', 'frozen', '--seed', 3,
        '--json', path,
    )  # fmt: skip
    assert 'driver-top3, frozen protocol: 30 contexts' in output
    assert 'rows from the future' in output
    assert output.endswith('nothing found')
    figures = json.loads(path.read_text())
    assert (figures['database'], figures['task']) == (REL_F1, 'driver-top3')
    assert (figures['protocol'], figures['seed']) == ('frozen', 3)
    assert figures['contexts'] == 30
    assert figures['cells'] > figures['rows'] > 30
    assert set(figures['findings'].values()) == {0}
    assert figures['future_rows_by_table'] == {}
    assert figures['seconds'] > 0


def test_findings_fail(monkeypatch, tmp_path):
    visible_until = TaskStore.visible_until
    monkeypatch.setattr(
        TaskStore,
        'visible_until',
        lambda self, rows, protocol: visible_until(self, rows, protocol) - 86_400,
    )
    path = tmp_path / 'audit.json'
    output = run(
        REL_F1, 'driver-top3', '--contexts', 12, '--json', path, code=1
    )  # fmt: skip
    assert 'instead of' in output
    assert '12 findings (visible_until)' in output
    figures = json.loads(path.read_text())
    assert figures['findings']['visible_until'] == 12
    assert "of 'driver-top3' in context 0" in figures['examples']['visible_until']


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['driver-wins'], 'driver-top3'),
        (['driver-top3', '--contexts', '0'], 'contexts must be positive'),
        (['driver-top3', '--protocol', 'frosty'], 'frosty'),
        (['driver-circuit-compete'], 'recommendation'),
    ],
)
def test_bad_input(args, words):
    assert words in run(REL_F1, *args, code=2)
