import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from torch_geometric_rfm.cli.app import app

REL_F1 = str(Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1')
SQL = """
    SELECT driverId, timestamp AS date, max(points) > 0 AS scores
    FROM timestamps JOIN results
    ON results.date > timestamp AND results.date <= timestamp + INTERVAL '{horizon}'
    WHERE timestamp > '1995-01-01'
    GROUP BY ALL ORDER BY ALL
"""
runner = CliRunner()


def run(*args, code=0):
    result = runner.invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


@pytest.fixture(scope='module')
def query(tmp_path_factory):
    path = tmp_path_factory.mktemp('sql') / 'scores.sql'
    path.write_text(SQL)
    return path


def test_a_query_from_training_to_predictions(query, tmp_path):
    own = ['--sql', query, '--entity-table', 'drivers', '--horizon', '60d']
    figures = tmp_path / 'figures.json'
    run(
        'finetune', REL_F1, 'driver-scores', *own, '--from-scratch', '--minutes',
        0.02, '--num-cells', 32, '--text-encoder', 'hashing', '--out',
        tmp_path / 'run', '--json', figures,
    )  # fmt: skip
    figures = json.loads(figures.read_text())
    assert figures['task'] == 'driver-scores'
    assert figures['num_rows'] > 500
    assert figures['baselines']['entity_mean']['roc_auc'] > 0.7
    out = tmp_path / 'predictions.csv'
    run(
        'predict', REL_F1, 'driver-scores', *own, '--model', tmp_path / 'run',
        '--split', 'test', '--out', out,
    )  # fmt: skip
    frame = pd.read_csv(out)
    assert len(frame) == figures['num_rows']
    assert list(frame) == ['driverId', 'date', 'prediction']
    assert 'nothing found' in run(
        'audit', REL_F1, 'driver-scores', *own, '--contexts', 30
    )


def test_a_file_of_labels(tmp_path):
    results = pd.read_parquet(Path(REL_F1) / 'db' / 'results.parquet')
    labels = results[['driverId', 'date', 'laps']].drop_duplicates(['driverId', 'date'])
    labels = labels[labels['date'] > '2003-01-01']
    for suffix in ('csv', 'parquet'):
        path = tmp_path / f'laps.{suffix}'
        if suffix == 'csv':
            labels.to_csv(path, index=False)
        else:
            labels.to_parquet(path, index=False)
        # The label itself stands in the row of the same day.
        output = run(
            'audit', REL_F1, 'laps', '--labels', path, '--entity-table', 'drivers',
            '--horizon', '1 day', '--contexts', 9,
        )  # fmt: skip
        assert 'nothing found' in output


def test_without_labels_of_test_rows_val_is_scored(tmp_path):
    results = pd.read_parquet(Path(REL_F1) / 'db' / 'results.parquet')
    labels = results[['driverId', 'date', 'laps']].drop_duplicates(['driverId', 'date'])
    labels = labels[labels['date'] > '2003-01-01']
    labels.loc[labels['date'] > '2010-01-01', 'laps'] = float('nan')
    labels.to_parquet(tmp_path / 'laps.parquet', index=False)
    figures = tmp_path / 'figures.json'
    output = run(
        'finetune', REL_F1, 'laps', '--labels', tmp_path / 'laps.parquet',
        '--entity-table', 'drivers', '--horizon', '1 day', '--minutes', 0.02,
        '--num-cells', 32, '--from-scratch', '--text-encoder', 'hashing',
        '--out', tmp_path / 'run', '--json', figures,
    )  # fmt: skip
    assert "split 'test' of task 'laps' has no labels to evaluate against" in output
    assert 'the scores will be of val' in output
    figures = json.loads(figures.read_text())
    assert figures['split'] == 'val'
    dates = labels['date']
    assert figures['num_rows'] == dates.between('2005-01-01', '2010-01-01').sum()


def test_recommendations_of_a_query(tmp_path):
    query = tmp_path / 'circuits.sql'
    query.write_text(
        """
        SELECT DISTINCT driverId, timestamp, circuitId FROM timestamps
        JOIN races ON date > timestamp AND date <= timestamp + INTERVAL '{horizon}'
        JOIN results USING (raceId)
        """
    )
    own = [
        '--sql', query, '--entity-table', 'drivers',
        '--destination-table', 'circuits', '--horizon', '365 days',
    ]  # fmt: skip
    figures = tmp_path / 'figures.json'
    run(
        'finetune', REL_F1, 'visits', *own, '--minutes', 0.02, '--num-cells', 32,
        '--from-scratch', '--text-encoder', 'hashing', '--out', tmp_path / 'run',
        '--json', figures, '--k', 5,
    )  # fmt: skip
    assert 0 < json.loads(figures.read_text())['metrics']['map'] < 1
    values = []
    for k in (5, 10):
        options = ['--model', tmp_path / 'run', '--json', figures, '--k', k]
        run('evaluate', REL_F1, 'visits', *own, *options)
        values.append(json.loads(figures.read_text())['metrics']['map'])
    assert values[0] != values[1]
    out = tmp_path / 'best.csv'
    run(
        'predict', REL_F1, 'visits', *own, '--model', tmp_path / 'run',
        '--split', 'val', '--k', 3, '--out', out,
    )  # fmt: skip
    best = pd.read_csv(out)
    assert best.groupby(['driverId', 'timestamp']).size().eq(3).all()
    circuits = pd.read_parquet(Path(REL_F1) / 'db' / 'circuits.parquet')
    assert best['circuitId'].isin(circuits['circuitId']).all()


def test_options_that_do_not_go_together(query, tmp_path):
    def fails(*args):
        return run('audit', REL_F1, 'x', *args, code=2)

    assert '--entity-table goes with' in fails('--entity-table', 'drivers')
    assert '--destination-table goes with' in run(
        'evaluate', REL_F1, 'x', '--destination-table', 'circuits', code=2
    )
    assert '--k goes with --destination-table here (got 3)' in run(
        'evaluate', REL_F1, 'x', '--k', 3, code=2
    )
    assert 'say --entity-table' in fails('--sql', query)
    both = ['--sql', query, '--labels', query, '--entity-table', 'drivers']
    assert 'say either --sql or --labels' in fails(*both)
    table = ['--entity-table', 'drivers']
    assert 'must end in .parquet or .csv' in fails('--labels', query, *table)
    assert 'No such file' in fails('--sql', tmp_path / 'no.sql', *table)
    assert 'pass horizon=' in fails('--sql', query, *table)
