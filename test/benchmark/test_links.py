import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.relbench.bootstrap import resampled
from benchmark.relbench.inputs import open_inputs
from benchmark.relbench.leaks import check_leaks
from benchmark.relbench.links import average_precision, score_links
from benchmark.relbench.metrics import score
from benchmark.relbench.models import make_model
from benchmark.relbench.report import report
from benchmark.relbench.results import read_lines
from benchmark.relbench.run import main

F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'
TASK = 'driver-circuit-compete'


def test_map_by_hand():
    truth = np.array([[1, 0, 1, 0], [0, 1, 0, 0]], dtype=bool)
    prediction = np.array([[0, 1, 2], [3, -1, 1]])
    # Hits at ranks 1 and 3 of two; at rank 3 of one.
    expected = [(1 / 1 + 2 / 3) / 2, (1 / 3) / 1]
    assert average_precision(truth, prediction) == pytest.approx(expected)
    assert score_links(truth, prediction) == {'map': pytest.approx(np.mean(expected))}
    weights = np.array([[2.0, 0.0], [0.0, 1.0]])
    found = resampled('recommendation', truth, [prediction], weights)
    assert found == pytest.approx(expected)


def test_bad_recommendations():
    truth = np.ones((1, 3), dtype=bool)
    for wrong in ([[0, 3]], [[-2, 0]]):
        with pytest.raises(ValueError, match='rows of the 3 destinations'):
            score('recommendation', truth, np.array(wrong), 1.0)
    with pytest.raises(ValueError, match='the same destination twice'):
        score('recommendation', truth, np.array([[1, 1]]), 1.0)
    with pytest.raises(ValueError, match='a prediction a label'):
        score('recommendation', truth, np.array([[1], [2]]), 1.0)


def test_counts_are_scored_as_relbench_does_and_reported(tmp_path, capsys):
    out = tmp_path / 'lines.jsonl'
    names = ['popularity', 'recent-popularity', 'past-links', 'recent-links']
    arguments = ['--db', str(F1), '--task', TASK, '--out', str(out)]
    main([*arguments, '--model', *names])
    lines = read_lines(out)
    assert len(lines) == 2 * len(names)
    inputs = open_inputs(str(F1), TASK)
    for line in lines:
        model = make_model(line['model'], inputs.kind, TASK)
        prediction = model.predict(inputs, 'test', line['protocol'])
        expected = inputs.task.evaluate(prediction, 'test')['map']
        assert line['metrics']['test']['map'] == pytest.approx(expected)
    text = report(lines, tmp_path)
    assert 'map (more is better)' in text
    assert 'ID-GNN' in text
    with pytest.raises(SystemExit, match='lightgbm-entity.* cannot do task'):
        main([*arguments, '--model', 'lightgbm-entity'])
    # Edited figures are found out:
    line = json.loads(out.read_text().splitlines()[0])
    line['metrics']['test']['map'] += 0.1
    out.write_text(json.dumps(line) + '\n')
    with pytest.raises(ValueError, match='line 1: test map is'):
        read_lines(out)


def test_counts_do_not_leak():
    inputs = open_inputs(str(F1), TASK)
    model = make_model('recent-links', inputs.kind, TASK)
    assert check_leaks(model, inputs, num_times=1) > 10
