import numpy as np
import pandas as pd
import pytest

from benchmark.relbench.features.paths import name_of, paths_from
from benchmark.relbench.features.relational import (
    entity_features,
    plan_features,
    raw_tables,
    relational_features,
)
from benchmark.relbench.inputs import Inputs
from benchmark.relbench.leaks import without_future
from torch_geometric_rfm.testing import random_database, random_task

DAY = pd.Timedelta('1 day')


def features_of(inputs, protocol='rolling'):
    rows = np.arange(len(inputs.task.frame))
    until = inputs.visible_until(rows, protocol)
    return relational_features(inputs, plan_features(inputs), rows, until), until


def test_paths(binary):
    names = [name_of(path) for path in paths_from(raw_tables(binary), 'customers')]
    assert names == [
        'shop_id>shops',
        'shop_id>shops customers.shop_id',
        'orders.customer_id',
    ]
    names = [name_of(path) for path in paths_from(raw_tables(binary), 'orders')]
    assert names == [
        'customer_id>customers',
        'customer_id>customers shop_id>shops',
        'customer_id>customers orders.customer_id',
    ]
    names = [name_of(path) for path in paths_from(raw_tables(binary), 'shops')]
    assert names == ['customers.shop_id', 'customers.shop_id orders.customer_id']


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
def test_aggregates_agree_with_brute_force(binary, protocol):
    out, until = features_of(binary, protocol)
    orders = binary.db.table_dict['orders'].df
    customers = binary.db.table_dict['customers'].df
    for row in range(0, len(out), 13):
        entity, now = (
            binary.task.frame['entity'][row],
            pd.Timestamp(until[row], unit='s'),
        )
        own = orders[(orders['customer_id'] == entity) & (orders['date'] <= now)]
        recent = own[own['date'] > now - 30 * DAY]
        got = out.iloc[row]
        name = 'orders.customer_id'
        joined = customers['joined'][entity] <= now
        shop = customers['shop_id'][entity] if joined else np.nan
        siblings = customers[
            (customers['shop_id'] == shop) & (customers['joined'] <= now)
        ]
        expected = {
            f'{name}: count': len(own),
            f'{name}: count, 30 days': len(recent),
            f'{name}: days since last': (now - own['date'].max()) / DAY,
            f'{name}: amount, mean': own['amount'].mean(),
            f'{name}: amount, mean, 30 days': recent['amount'].mean(),
            f'{name}: amount, mean of last 3': own['amount'].iloc[-3:].mean(),
            f'{name}: amount, max': own['amount'].max(),
            f'{name}: amount, deviation': own['amount'].std(ddof=0),
            f'{name}: status=paid, mean': (own['status'] == 'paid').mean(),
            'shop_id>shops customers.shop_id: count': len(siblings),
            'shop_id>shops customers.shop_id: age, mean': siblings['age'].mean(),
            'customers: age': customers['age'][entity] if joined else np.nan,
        }
        for key, value in expected.items():
            value = np.nan if len(own) == 0 and value == 0 and 'mean' in key else value
            assert got[key] == pytest.approx(value, rel=1e-4, abs=1e-3, nan_ok=True), (
                key
            )


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
def test_labels_count_from_their_horizon_on(binary, protocol):
    out, until = features_of(binary, protocol)
    frame = binary.task.frame
    times = binary.times
    for row in range(0, len(out), 11):
        known = (times < until[row]) & (
            times + binary.task.horizon.total_seconds() <= until[row]
        )
        own = frame[known & (frame['entity'] == frame['entity'][row])]
        got = out.iloc[row]
        assert got['own labels: count'] == len(own)
        assert got['own labels: label, mean'] == pytest.approx(
            own['label'].mean(), rel=1e-5, nan_ok=True
        )
        assert got['all labels: count'] == known.sum()


@pytest.mark.parametrize('kind', ['forecast', 'autocomplete'])
@pytest.mark.parametrize('seed', range(4))
def test_random_databases_keep_the_future_out(seed, kind):
    db = random_database(seed)
    inputs = Inputs('random', db, random_task(db, seed, kind))
    plan = plan_features(inputs)
    rng = np.random.default_rng(seed)
    for row in rng.permutation(len(inputs.task.frame))[:1]:
        rows = np.array([row])
        until = inputs.visible_until(rows, rng.choice(['rolling', 'frozen']))
        before = relational_features(inputs, plan, rows, until)
        for way in ('removed', 'disturbed'):
            blind, own = without_future(inputs, rows, int(until[0]), way, rng)
            after = relational_features(blind, plan, own, until)
            pd.testing.assert_frame_equal(before, after, rtol=1e-4, atol=1e-3)


def test_hidden_columns_and_late_entities_give_nothing(binary):
    binary.task.hidden_columns = [('orders', 'amount')]
    out, _ = features_of(binary)
    assert not any('amount' in name for name in out)
    rows = binary.rows('test')[:3]
    early = entity_features(binary, plan_features(binary), rows, np.zeros(3))
    dates = early[['year', 'day of the year']]
    assert early.drop(columns=dates).isna().all(axis=None)
    assert (dates['year'].astype(int) == 1970).all()


def test_frequent_values_are_those_before_the_cutoff(binary):
    orders = binary.db.table_dict['orders'].df
    late = orders['date'] > binary.task.cutoffs['train']
    orders.loc[late, 'status'] = 'unheard of'
    status = plan_features(binary).columns['orders'][2]
    assert (status.name, status.kind) == ('status', 'category')
    assert 'unheard of' not in status.values
    assert late.sum() > max((orders['status'] == v).sum() for v in status.values)
