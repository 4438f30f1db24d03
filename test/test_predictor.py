import json

import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import HashingTextEncoder
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_database, toy_task

SAMPLING = {'num_cells': 32, 'num_neighbors': 4}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    db = toy_database()
    out = tmp_path_factory.mktemp('runs') / 'toy'
    predictor = RelationalPredictor(text_encoder='hashing', **SAMPLING)
    predictor.fit(db, toy_task(db), out, minutes=None, num_steps=3, show_progress=False)
    return db, predictor, out


def test_run_folder(trained):
    _, _, out = trained
    names = {path.name for path in out.iterdir()}
    assert names == {
        'columns.csv',
        'config.json',
        'metrics.csv',
        'learning_curve.png',
        'model.safetensors',
    }
    config = json.loads((out / 'config.json').read_text())
    assert config['predictor']['sampling']['num_cells'] == 32


def test_saved_predictor_predicts_the_same(trained):
    db, predictor, out = trained
    loaded = RelationalPredictor.from_pretrained(out)
    task = toy_task(db)
    before = predictor.predict(db, task, split='test')
    after = loaded.predict(db, task, split='test')
    assert list(before.columns) == ['customer_id', 'timestamp', 'prediction']
    assert np.array_equal(before['prediction'], after['prediction'])
    assert before['prediction'].between(0, 1).all()


def test_further_training_ends_no_worse_on_val_than_it_began(trained):
    db, _, out = trained
    predictor = RelationalPredictor.from_pretrained(out)
    task = toy_task(db, 'regression')
    store = predictor.open_task(db, task)
    before = predictor.evaluate(db, task, 'val')['nmae']
    # A rate that ruins it once it has risen.
    ruin = {'num_steps': 20, 'minutes': None, 'lr': 1.0, 'num_evals': 2}
    result = predictor.fit_stores([store], show_progress=False, **ruin)
    assert [row['step'] for row in result.history] == [0, 10, 20]
    assert result.history[0]['train_loss'] == ''
    scores = [row['val_nmae'] for row in result.history]
    assert scores[0] == pytest.approx(before)
    assert scores[0] < min(scores[1:])
    after = predictor.evaluate(db, task, 'val')['nmae']
    assert after == pytest.approx(scores[0])
    new = RelationalPredictor(text_encoder='hashing', **SAMPLING)
    result = new.fit_stores([store], show_progress=False, **ruin)
    assert [row['step'] for row in result.history] == [10, 20]


def test_what_was_saved_without_histories_has_none(trained, tmp_path):
    _, predictor, out = trained
    assert predictor.sampling['history'] > 0
    for path in out.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / 'config.json').read_text())
    del config['predictor']['sampling']['history']
    config['predictor']['temperature'] = {'customer-orders': 2.0}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.warns(UserWarning, match='calibrated by an older version'):
        loaded = RelationalPredictor.from_pretrained(tmp_path)
    assert loaded.sampling == {**predictor.sampling, 'history': 0.0}


def test_what_was_saved_without_encodings_of_datetimes_has_two(tmp_path):
    both = ('global', 'relative')
    model = RelationalTransformer.small(channels=16, datetime_encoding=both)
    RelationalPredictor(model, 'hashing').save_pretrained(tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text())
    del config['datetime_encoding']
    (tmp_path / 'config.json').write_text(json.dumps(config))
    model = RelationalPredictor.from_pretrained(tmp_path).model
    assert tuple(model.config['datetime_encoding']) == both


def test_other_text_encoder_is_refused_by_identity(trained):
    _, _, out = trained
    other = HashingTextEncoder(seed=1)
    with pytest.raises(ValueError, match='text encoder'):
        RelationalPredictor.from_pretrained(out, text_encoder=other)


def test_store_of_other_text_encoder_is_refused(trained):
    db, predictor, _ = trained
    other = RelationalPredictor(text_encoder=HashingTextEncoder(seed=1), **SAMPLING)
    store = other.open_task(db, toy_task(db))
    with pytest.raises(ValueError, match='text encoder'):
        predictor.predict_rows(store, 'test')


def test_entities_without_label(trained):
    db, predictor, _ = trained
    task = toy_task(db)
    test = task.frame[task.frame['split'] == 'test'].iloc[:5]
    keys = db.table_dict['customers'].df['customer_id'].to_numpy()[test['entity']]
    frame = predictor.predict(db, task, entities=keys, time=test['time'].to_numpy())
    known = predictor.predict(db, task, split='test')
    assert (frame['customer_id'].to_numpy() == keys).all()
    assert np.allclose(frame['prediction'], known['prediction'][:5], atol=1e-6)


def test_unknown_entity_and_half_given(trained):
    db, predictor, _ = trained
    task = toy_task(db)
    with pytest.raises(ValueError, match='lacks'):
        predictor.predict(db, task, entities=[10**6], time='2020-01-01')
    with pytest.raises(ValueError, match='go together'):
        predictor.predict(db, task, entities=[0])
    with pytest.raises(ValueError, match=r"give entities or a split \(got split='val'"):
        predictor.predict(db, task, 'val', entities=[0], time='2020-01-01')


def test_unknown_sampling_argument():
    with pytest.raises(ValueError, match='num_celss'):
        RelationalPredictor(text_encoder='hashing', num_celss=3)


def test_statistics_end_where_train_does():
    db = toy_database()
    late, early = toy_task(db), toy_task(db)
    early.cutoffs = dict.fromkeys(early.cutoffs, pd.Timestamp('2021-02-01'))
    predictor = RelationalPredictor(text_encoder='hashing')
    first, second = (predictor.open_task(db, task) for task in (late, early))
    again = predictor.open_task(db, early)
    assert second.store is again.store
    assert second.store is not first.store
    assert second.store.cutoff < first.store.cutoff


def test_a_refused_fit_changes_nothing(trained, tmp_path):
    db, _, _ = trained
    new = RelationalPredictor(text_encoder='hashing', **SAMPLING)
    store = new.open_task(db, toy_task(db))
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match='minutes'):
        new.fit_stores([store], minutes=None)
    with pytest.raises(FileExistsError):
        new.fit_stores([store], tmp_path)
    assert new.training == {}
