from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmark.relbench.inputs import open_inputs
from benchmark.relbench.metrics import score
from benchmark.relbench.models import MODELS, make_model
from benchmark.relbench.models.boosting import MOST_VALUES, settings_of
from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import load_dataset
from torch_geometric_rfm.metrics import baselines_of

REL_F1 = Path(__file__).parents[2] / 'examples' / 'data' / 'rel-f1'
SAME = {
    'global-mean': 'global_mean',
    'global-median': 'global_median',
    'entity-mean-train': 'entity_mean_train',
    'entity-mean-known': 'entity_mean',
    'last-3-known': 'last_labels',
    'smoothed-known': 'smoothed_labels',
}


def fitted(name, inputs, minutes=0.01):
    model = make_model(name, inputs.kind, inputs.task.name)
    model.fit(inputs, 0, minutes)
    return model


def test_label_baselines_are_those_of_the_package(binary, regression):
    for inputs in (binary, regression):
        known = baselines_of(inputs.task)
        for name, own in SAME.items():
            if own not in known:
                continue
            model = fitted(name, inputs)
            for split in ('train', 'val', 'test'):
                for protocol in ('rolling', 'frozen'):
                    rows = inputs.rows(split)
                    until = inputs.store.visible_until(rows, protocol)
                    assert (until == inputs.visible_until(rows, protocol)).all()
                    np.testing.assert_allclose(
                        model.predict(inputs, split, protocol),
                        known[own](inputs.store, rows, until),
                        atol=1e-9,
                    )


def test_labels_of_train_alone_stand_still(regression):
    for name in ('entity-median', 'last-3'):
        train, known = (
            fitted(f'{name}-{kind}', regression) for kind in ('train', 'known')
        )
        first, second = (
            train.predict(regression, 'test', p) for p in ('rolling', 'frozen')
        )
        assert np.array_equal(first, second)
        assert not np.array_equal(first, known.predict(regression, 'test', 'rolling'))


def test_majority(binary):
    labels = binary.labels[binary.rows('train')]
    prediction = fitted('global-majority', binary).predict(binary, 'test', 'rolling')
    assert set(prediction) == {float(labels.mean() >= 0.5)}


@pytest.mark.usefixtures('needs_lightgbm')
@pytest.mark.parametrize('name', ['lightgbm-entity', 'lightgbm-relational'])
def test_lightgbm_learns_and_repeats_itself(regression, name):
    age = regression.db.table_dict['customers'].df['age'].fillna(50).to_numpy()
    frame = regression.task.frame
    frame['label'] = age[frame['entity'].to_numpy()]  # What can be learned.
    model = fitted(name, regression)
    rows = regression.rows('train')
    x = model.features(regression, rows, regression.visible_until(rows, 'rolling'))
    label, std = regression.labels[rows], regression.train_std
    constant = np.full(len(rows), np.median(label))
    learned = score('regression', label, model.boosting.predict(x.to_numpy()), std)
    assert learned['nmae'] < score('regression', label, constant, std)['nmae']
    again = fitted(name, regression.fresh(), minutes=0.0).predict(
        regression, 'test', 'frozen'
    )  # However long it may take.
    assert np.array_equal(again, model.predict(regression, 'test', 'frozen'))
    assert model.num_parameters > 0
    assert model.settings['num_features'] == x.shape[1]


@pytest.mark.parametrize(
    'name',
    [
        'rdl-gnn',
        'rdl-gnn-attention',
        'relational-transformer',
        'relational-transformer-joint',
    ],
)
@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_networks_predict_every_row(name, kind, request):
    inputs = request.getfixturevalue(kind)
    model = fitted(name, inputs)
    for split in ('val', 'test'):
        prediction = model.predict(inputs, split, 'frozen')
        assert prediction.shape == inputs.rows(split).shape
        score(inputs.kind, inputs.labels[inputs.rows(split)], prediction, 1.0)
    assert model.num_parameters > 1000
    assert model.settings['steps'] >= 1


def test_entities_that_are_not_known_yet_get_what_is_typical(binary):
    entity = binary.task.frame['entity'].to_numpy()[binary.rows('test')]
    late = int(entity[0])
    table = binary.db.table_dict['customers']
    table.df.loc[late, 'joined'] = binary.task.cutoffs['test'] + pd.Timedelta('1s')
    kept = (binary.task.frame['entity'] != late) | (
        binary.task.frame['split'] == 'test'
    )
    binary.task.frame = binary.task.frame[kept].reset_index(drop=True)
    model = fitted('rdl-gnn', binary)
    rows = binary.rows('test')
    prediction = model.predict(binary, 'test', 'frozen')
    is_late = binary.task.frame['entity'].to_numpy()[rows] == late
    train = binary.labels[binary.rows('train')]
    assert is_late.any()
    assert prediction[is_late] == pytest.approx(np.nanmean(train))
    assert (prediction[~is_late] != prediction[is_late][0]).any()


def test_unknown_models_and_other_types():
    with pytest.raises(ValueError, match=r"no model 'xgboost' \(known are: global"):
        make_model('xgboost', 'regression', 'task')
    with pytest.raises(
        ValueError,
        match=r"'global-median' cannot do task 'dnf', which is of type "
        r"'binary_classification' \(it can do: regression; models that can: "
        r'global-mean, global-majority',
    ):
        make_model('global-median', 'binary_classification', 'dnf')
    for name in MODELS:
        with pytest.raises(ValueError, match='models that can: none so far'):
            make_model(name, 'link_prediction', 'driver-circuit-compete')


def test_the_grid_depends_on_the_size_of_the_table_alone():
    assert len(settings_of('regression', 10)) == 8
    assert len(settings_of('binary_classification', 10)) == 4
    assert len(settings_of('binary_classification', MOST_VALUES // 3)) == 3
    assert len(settings_of('multiclass_classification', MOST_VALUES // 30, 10)) == 3
    assert len(settings_of('regression', 10 * MOST_VALUES)) == 1


def test_one_joint_training_serves_all_tasks(tmp_path, monkeypatch):
    first, second = (
        open_inputs(REL_F1, task, models=tmp_path)
        for task in ('driver-top3', 'driver-dnf')
    )
    tasks = ['driver-dnf', 'driver-position', 'driver-top3']
    # As many as a test has time for.
    names = [*tasks, 'driver-circuit-compete']
    dataset = type(load_dataset(REL_F1))
    monkeypatch.setattr(dataset, 'get_task_names', lambda self: names)
    trained = fitted('relational-transformer-joint', first)
    assert trained.settings['tasks'] == tasks
    assert trained.settings['drop_rate'] == 0.5
    monkeypatch.setattr(RelationalPredictor, 'fit_stores', None)
    loaded = fitted('relational-transformer-joint', second)
    assert loaded.fit_seconds == trained.fit_seconds > 0
    assert loaded.settings['steps'] == trained.settings['steps']
    for name, value in trained.predictor.model.state_dict().items():
        assert value.equal(loaded.predictor.model.state_dict()[name])
    rows = second.rows('val')[:5]
    assert np.isfinite(loaded.predictor.predict_rows(second.store, rows)).all()


def test_what_a_database_has_its_own_is_not_for_pretrained_models():
    inputs = SimpleNamespace(database='ipl-cricket', kind='regression')
    names = ('relational-transformer', 'relational-transformer-fine-tuned')
    scratch, tuned = (MODELS[name]().training(inputs) for name in names)
    assert scratch == {**tuned, 'drop_rate': 0.6}
    inputs.kind = 'recommendation'  # Which leave out no cells.
    assert MODELS[names[0]]().training(inputs) == tuned
