import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare

from torch_geometric_rfm.data import (
    CellStore,
    ColumnSample,
    HashingTextEncoder,
    to_hetero,
)
from torch_geometric_rfm.testing import toy_database, toy_task, toy_task_store
from torch_geometric_rfm.testing.database import VAL_TIMESTAMP

ENCODER = HashingTextEncoder(8)


def build(db, cutoff=VAL_TIMESTAMP):
    data, col_stats = to_hetero(db, cutoff=cutoff)
    return CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cutoff=cutoff, cache_dir=False
    )


def column(store, phrase):
    return store.column_names.index(phrase)


def test_values_are_those_of_rows_up_to_the_cutoff():
    db = toy_database()
    store = build(db)
    sample = ColumnSample(store, size=1000)
    assert str(sample) == 'ColumnSample(10, size=1000)'
    orders = db.table_dict['orders'].df
    known = orders[orders['date'] <= VAL_TIMESTAMP]
    assert 0 < len(known) < len(orders)

    amount = known['amount']
    expected = (amount - amount.mean()) / amount.std()
    found = sample.values(column(store, 'amount of orders'))
    assert np.allclose(np.sort(found), np.sort(expected), atol=1e-5)
    gift = known['gift'].astype(float)
    found = sample.values(column(store, 'gift of orders'))
    assert np.allclose(np.sort(found), np.sort((gift - gift.mean()) / gift.std()))
    found = sample.values(column(store, 'date of orders'))
    seconds = known['date'].to_numpy().astype('datetime64[s]').astype(int)
    assert sorted(found) == sorted(seconds)

    # Missing values are not among them, and undated tables have no cutoff.
    notes = known['note'].dropna()
    found = store.text_embedding[sample.values(column(store, 'note of orders'))]
    expected = ENCODER.encode(notes.tolist())
    assert found.size() == expected.size()
    assert torch.equal(
        found.sum(0).round(decimals=3), expected.sum(0).round(decimals=3)
    )
    assert sample.values(column(store, 'area of shops')).size == 3


def test_later_rows_have_no_influence():
    db, changed = toy_database(), toy_database()
    late = changed.table_dict['orders'].df['date'] > VAL_TIMESTAMP
    changed.table_dict['orders'].df.loc[late, 'amount'] = 1e6
    first, second = ColumnSample(build(db), 20), ColumnSample(build(changed), 20)
    for i in range(first.num_columns):
        if first.store.arrays.column_kind[i] < 3:
            assert np.array_equal(first.values(i), second.values(i))


def test_what_a_task_hides_has_no_values():
    task = toy_task()
    task.hidden_columns.append(('orders', 'amount'))
    store = build(toy_database()).with_task(task)
    sample = ColumnSample(store)
    none = ['amount of orders', 'orders of customer-orders']
    none.append('timestamp of customer-orders')
    columns = torch.tensor([column(store, phrase) for phrase in none])
    drawn = sample.draw(columns, torch.rand(3))
    assert not drawn.known.any()
    assert not any(part.any() for part in drawn[1:])
    others = set(range(sample.num_columns)) - set(columns.tolist())
    assert all(sample.values(i).size > 0 for i in others)


def test_size_and_seed():
    store = toy_task_store()
    amount = column(store, 'amount of orders')
    values = ColumnSample(store, size=10).values(amount)
    assert values.size == 10
    assert np.array_equal(values, ColumnSample(store, size=10).values(amount))
    other = ColumnSample(store, size=10, seed=1).values(amount)
    assert not np.array_equal(values, other)
    whole = ColumnSample(store, size=1000).values(amount)
    assert np.isin(values, whole).all()


def test_large_tables_are_sampled_by_rows():
    # Above four times the size, a share of the rows is looked at.
    db = toy_database()
    orders = db.table_dict['orders'].df
    orders = pd.concat([orders] * 20, ignore_index=True)
    orders['order_id'] = np.arange(len(orders))
    orders['date'] = VAL_TIMESTAMP
    orders['amount'] = np.arange(len(orders)) % 4
    orders['note'] = [f'note {i}' if i < 5 else None for i in range(len(orders))]
    db.table_dict['orders'].df = orders
    store = build(db)
    sample = ColumnSample(store, size=400)
    amount = sample.values(column(store, 'amount of orders'))
    assert amount.size == 400
    _, counts = np.unique(amount.round(4), return_counts=True)
    assert chisquare(counts).pvalue > 0.001
    assert sample.values(column(store, 'note of orders')).size == 5


def test_draws():
    store = toy_task_store()
    sample = ColumnSample(store, size=4)
    names = ['amount of orders', 'date of orders', 'status of orders']
    columns = torch.tensor([column(store, name) for name in names])
    draws = (torch.arange(4) + 0.5) / 4
    drawn = sample.draw(columns.repeat_interleave(4), draws.repeat(3))
    assert drawn.known.all()
    amount, date, status = (sample.values(int(c)) for c in columns)
    assert np.allclose(drawn.value[:4], amount)
    assert drawn.seconds[4:8].tolist() == date.tolist()
    mean, std = store.store.arrays.datetime_scale
    assert np.allclose(drawn.value[4:8], (date - mean) / std, atol=1e-6)
    assert drawn.string[8:].tolist() == status.tolist()
    assert not drawn.value[8:].any()
    assert not drawn.string[:8].any()


def test_all_missing_columns_have_no_values():
    db = toy_database()
    db.table_dict['orders'].df['amount'] = np.nan
    store = build(db)
    sample = ColumnSample(store)
    drawn = sample.draw(
        torch.tensor([column(store, 'amount of orders')]), torch.rand(1)
    )
    assert drawn.known.tolist() == [False]


def test_bad_arguments():
    store = toy_task_store()
    with pytest.raises(ValueError, match=r"'size' must be positive \(got 0\)"):
        ColumnSample(store, size=0)
    with pytest.raises(ValueError, match=r"'column' must lie in \[0, 12\) \(got 12\)"):
        ColumnSample(store).values(12)
