from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.audit import audit_task
from torch_geometric_rfm.data import Task, multilabel_tasks
from torch_geometric_rfm.testing import toy_database, toy_task


def multilabel():
    r"""A task of two labels over the rows of the toy task: the toy label, and
    whether the customer is even.
    """
    frame = toy_task().frame
    labels = np.stack([frame['label'], frame['entity'] % 2 == 0], axis=1).astype(float)

    customers = toy_database().table_dict['customers']
    keys = customers.df[customers.pkey_col].to_numpy()

    def get_table(split, mask_input_cols):
        rows = np.flatnonzero(frame['split'] == split)
        columns = {
            'customer': keys[frame['entity'].to_numpy()[rows]],
            'timestamp': frame['time'].to_numpy()[rows],
            'tags': list(labels[rows]),
        }
        return SimpleNamespace(df=pd.DataFrame(columns))

    out = SimpleNamespace(
        name='tags',
        kind='forecast',
        task_type=SimpleNamespace(value='multilabel_classification'),
        timedelta=pd.Timedelta('30 days'),
        dataset=SimpleNamespace(
            val_timestamp=pd.Timestamp('2021-05-01'),
            test_timestamp=pd.Timestamp('2021-09-01'),
        ),
        entity_table='customers',
        entity_col='customer',
        time_col='timestamp',
        target_col='tags',
        hidden_columns=list,
        get_table=get_table,
    )
    return out


def test_each_label_is_a_task():
    db = toy_database()
    tasks = multilabel_tasks(multilabel(), db, names=['busy', 'even'])
    assert [task.name for task in tasks] == ['tags busy', 'tags even']
    assert [task.target_col for task in tasks] == ['busy', 'even']
    toy = toy_task().frame.sort_values(['split', 'entity', 'time'])
    for task, expected in zip(tasks, (toy['label'], toy['entity'] % 2 == 0)):
        frame = task.frame.sort_values(['split', 'entity', 'time'])
        assert np.array_equal(frame['label'], expected.astype(float))
        assert np.array_equal(frame['entity'], toy['entity'])
        assert task.horizon == pd.Timedelta('30 days')
    hidden = multilabel()
    hidden.hidden_columns = lambda: [('customers', 'age')]
    for task in multilabel_tasks(hidden, db):
        assert task.hidden_columns == [('customers', 'age')]
    (one,) = multilabel_tasks(multilabel(), db, chosen=['label 1'])
    assert one.name == 'tags label 1'
    assert audit_task(db, one, contexts=40).findings == 0


def test_labels_are_trained_together():
    db = toy_database()
    tasks = multilabel_tasks(multilabel(), db, names=['busy', 'even'])
    predictor = RelationalPredictor(text_encoder='hashing', num_cells=16)
    predictor.fit(db, tasks, minutes=None, num_steps=2, show_progress=False)
    for task in tasks:
        figures = predictor.evaluate(db, task)
        assert 0 <= figures['roc_auc'] <= 1


def test_a_predictor_takes_the_task_whole():
    db, task = toy_database(), multilabel()
    predictor = RelationalPredictor(text_encoder='hashing', num_cells=16)
    predictor.fit(db, task, minutes=None, num_steps=2, show_progress=False)
    assert predictor.training['tasks'] == ['tags label 0', 'tags label 1']
    tasks = multilabel_tasks(task, db)
    alone = [predictor.evaluate(db, one) for one in tasks]
    together = predictor.evaluate(db, task)
    for name, value in together.items():
        assert value == np.mean([figures[name] for figures in alone])
    frame = predictor.predict(db, task)
    names = ['probability_label 0', 'probability_label 1']
    assert list(frame) == ['customer', 'timestamp', *names]
    for one, name in zip(tasks, names):
        expected = predictor.predict(db, one)
        np.testing.assert_array_equal(frame[name], expected['prediction'])
        assert frame['customer'].equals(expected['customer'])
    time = pd.Timestamp('2021-10-01')
    later = predictor.predict(db, task, entities=frame['customer'][:3], time=time)
    assert later['timestamp'].eq(time).all()
    assert later[names].notna().all(axis=None)
    with pytest.raises(ValueError, match='k and candidates are of recommendation'):
        predictor.predict(db, task, k=3)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'names': ['busy']}, r"'names' must name each of the 2 .*\(got \['busy'\]\)"),
        ({'names': ['busy', 'busy']}, "'names' must name each"),
        ({'chosen': ['odd']}, r"\(got \['odd'\], known are: label 0, label 1\)"),
        ({'chosen': []}, "'chosen' must be labels"),
    ],
)
def test_bad_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        multilabel_tasks(multilabel(), toy_database(), **arguments)


def test_bad_labels():
    db, task = toy_database(), multilabel()
    with pytest.raises(ValueError, match='use multilabel_tasks'):
        Task.from_relbench(task, db)
    task.task_type = SimpleNamespace(value='regression')
    with pytest.raises(ValueError, match=r"must be of type multi.*\(got 'regression'"):
        multilabel_tasks(task, db)
    for values, message in (
        ([1.0, 1.0], "label 'label 0' of task 'tags' cannot be predicted: .*chosen"),
        ([2.0, 0.0], "label 'label 0' .*neither 0 nor 1"),
    ):
        task = multilabel()
        inner = task.get_table
        task.get_table = lambda split, mask_input_cols, f=inner, v=values: (
            SimpleNamespace(
                df=f(split, mask_input_cols).df.assign(
                    tags=lambda df: [np.array(v)] * len(df)
                )
            )
        )
        with pytest.raises(ValueError, match=message):
            multilabel_tasks(task, db)
    task = multilabel()
    inner = task.get_table
    task.get_table = lambda split, mask_input_cols: SimpleNamespace(
        df=inner(split, mask_input_cols).df.assign(
            tags=lambda df: [np.ones(1 + i % 2) for i in range(len(df))]
        )
    )
    with pytest.raises(ValueError, match=r'arrays of one length \(got 1 and 2\)'):
        multilabel_tasks(task, db)
