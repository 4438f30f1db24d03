from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.audit import RawTables, audit_task
from torch_geometric_rfm.audit.draw import draw_rows
from torch_geometric_rfm.data import TaskStore, load_database
from torch_geometric_rfm.testing import toy_task_store

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'


@pytest.fixture(scope='module')
def rel_f1():
    predictor = RelationalPredictor(text_encoder='hashing')
    return {'predictor': predictor, 'raw': RawTables(load_database(REL_F1))}


@pytest.mark.parametrize(
    ('count', 'expected'),
    [(1, 1), (30, 10), (300, 105), (10_000, 306)],
)
def test_draws_are_spread_over_the_splits(count, expected):
    store = toy_task_store()
    rows = draw_rows(store, count, seed=0)
    assert len(rows) == len(set(rows)) == min(count, 306 + 120 + 90)
    assert (np.diff(rows) > 0).all()
    # 90 rows of test and 120 of val are all there is.
    assert (store.split[rows] == 'train').sum() in (expected, 0)
    assert np.array_equal(rows, draw_rows(store, count, seed=0))
    if count == 30:
        assert not np.array_equal(rows, draw_rows(store, count, seed=1))
        assert np.unique(store.split[rows], return_counts=True)[1].tolist() == [10] * 3


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
@pytest.mark.parametrize('task', ['driver-position', 'qualifying-position'])
def test_rel_f1_is_clean(rel_f1, task, protocol):
    report = audit_task(REL_F1, task, 45, protocol, **rel_f1)
    assert {r.name: str(r.example) for r in report.rules if r.findings} == {}
    assert (report.contexts, report.seed) == (45, 0)
    assert (report.database, report.task) == (str(REL_F1), task)
    assert report.strings == 'embeddings by hashing-384-0'
    assert all(rule.checked for rule in report.rules if rule.name != 'unknown_labels')
    again = audit_task(REL_F1, task, 45, protocol, **rel_f1)
    assert (again.rows, again.cells) == (report.rows, report.cells)


def test_the_answer_in_the_row_that_is_asked_about(rel_f1, monkeypatch):
    build = TaskStore.__init__

    def show_all(self, store, task):
        build(self, store, task)
        hidden = np.zeros_like(self.arrays.hidden)
        self.arrays = self.arrays._replace(hidden=hidden)

    monkeypatch.setattr(TaskStore, '__init__', show_all)
    report = audit_task(REL_F1, 'results-position', 30, **rel_f1)
    assert report.broken == ['seed_label', 'hidden_columns']
    found = {rule.name: rule for rule in report.rules}
    # RelBench hides four columns of results; position is the answer of each.
    assert found['seed_label'].contexts == found['seed_label'].findings == 30
    assert 'shows the column that it asks for' in str(found['seed_label'].example)


def test_a_horizon_below_that_of_the_task(rel_f1, monkeypatch):
    # What a task store believes of its labels does not make them known.
    task = rel_f1['predictor'].open_task(REL_F1, 'driver-dnf').task
    monkeypatch.setattr(task.relbench_task, 'timedelta', pd.Timedelta('45 days'))
    report = audit_task(REL_F1, task, 60, **rel_f1)
    # Rows of labels and summaries of labels alike show what is not known yet.
    assert report.broken == ['unknown_labels', 'values']


def test_bad_input():
    with pytest.raises(ValueError, match=r'contexts must be positive \(got 0\)'):
        audit_task(REL_F1, 'driver-dnf', 0)
    with pytest.raises(ValueError, match='driver-top3'):
        audit_task(REL_F1, 'driver-wins')
