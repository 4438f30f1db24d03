import numpy as np
import pytest

from benchmark.relbench.features.relational import (
    plan_features,
    raw_tables,
    relational_features,
)
from benchmark.relbench.leaks import LeakError, check_leaks
from benchmark.relbench.models import make_model
from benchmark.relbench.models.base import Model


class Aggregates(Model):
    r"""Says how many features a row has, which is enough to look for leaks."""

    def fit(self, inputs, seed, minutes):
        self.plan = plan_features(inputs)

    def features(self, inputs, rows, until):
        return relational_features(inputs, self.plan, rows, until)

    def predict(self, inputs, split, protocol):
        rows = inputs.rows(split)
        features = self.features(inputs, rows, inputs.visible_until(rows, protocol))
        return features.notna().sum(axis=1).to_numpy()


class CountsAllOrders(Aggregates):
    def features(self, inputs, rows, until):
        out = super().features(inputs, rows, until)
        frame = inputs.db.table_dict['orders'].df
        counts = frame['customer_id'].value_counts()
        entity = inputs.task.frame['entity'].to_numpy()[rows]
        return out.assign(planted=counts.reindex(entity, fill_value=0).to_numpy())


class MeanOfAllLabels(Model):
    def fit(self, inputs, seed, minutes):
        pass

    def predict(self, inputs, split, protocol):
        frame = inputs.task.frame
        mean = frame.groupby('entity')['label'].mean()
        return mean[frame['entity'].to_numpy()[inputs.rows(split)]].to_numpy()


class OneDayLate(Aggregates):
    def features(self, inputs, rows, until):
        return relational_features(inputs, self.plan, rows, until + 86_400 * 5)


def fitted(model, inputs):
    model.fit(inputs, 0, 1.0)
    return model


def test_aggregates_do_not_leak(binary, regression):
    assert check_leaks(fitted(Aggregates(), binary), binary) > 50
    assert check_leaks(fitted(Aggregates(), regression), regression) > 50


def test_planted_count_is_caught_by_name(binary):
    with pytest.raises(LeakError, match=r"'planted' of \d+ of \d+ rows depends"):
        check_leaks(fitted(CountsAllOrders(), binary), binary)


def test_planted_labels_are_caught(binary):
    with pytest.raises(LeakError, match="'prediction'"):
        check_leaks(fitted(MeanOfAllLabels(), binary), binary)


def test_clock_that_is_late_is_caught(binary):
    with pytest.raises(LeakError):
        check_leaks(fitted(OneDayLate(), binary), binary, num_times=4)


@pytest.mark.parametrize(
    'name',
    [
        'global-mean',
        'entity-mean-train',
        'entity-mean-known',
        'last-3-known',
        'smoothed-known',
    ],
)
def test_label_baselines_do_not_leak(binary, regression, name):
    for inputs in (binary, regression):
        model = fitted(make_model(name, inputs.kind, 'toy'), inputs)
        assert check_leaks(model, inputs) > 50


@pytest.mark.parametrize('name', ['rdl-gnn', 'relational-transformer'])
def test_networks_do_not_leak(binary, name):
    model = make_model(name, binary.kind, 'toy')
    model.without_draws()
    model.fit(binary, 0, 0.01)
    assert check_leaks(model, binary) > 50


@pytest.mark.usefixtures('needs_lightgbm')
def test_lightgbm_does_not_leak_and_leaves_its_inputs_alone(binary):
    before = {name: t.df.copy() for name, t in binary.db.table_dict.items()}
    labels = binary.task.frame.copy()
    model = fitted(make_model('lightgbm-relational', binary.kind, 'toy'), binary)
    assert check_leaks(model, binary) > 50
    assert labels.equals(binary.task.frame)
    assert all(t.df.equals(before[n]) for n, t in binary.db.table_dict.items())
    assert raw_tables(binary) is raw_tables(binary)
    assert np.ptp(model.predict(binary, 'test', 'rolling')) > 0
