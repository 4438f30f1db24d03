import pandas as pd
import pytest

from torch_geometric_rfm.testing import (
    random_database,
    random_task,
    toy_database,
    toy_task,
)


def test_the_toy_is_the_same_each_time():
    first, second = toy_database(), toy_database()
    for name, table in first.table_dict.items():
        pd.testing.assert_frame_equal(table.df, second.table_dict[name].df)
    other = toy_database(seed=1).table_dict['orders'].df
    assert not other['amount'].equals(first.table_dict['orders'].df['amount'])


def test_orders_follow_their_customers():
    db = toy_database()
    orders, customers = db.table_dict['orders'].df, db.table_dict['customers'].df
    joined = customers['joined'].to_numpy()[orders['customer_id']]
    assert (orders['date'] >= joined).all()


@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_toy_task(kind):
    db = toy_database()
    task = toy_task(db, kind)
    task.validate()
    orders = db.table_dict['orders'].df
    row = task.frame.iloc[100]
    mine = orders[orders['customer_id'] == row['entity']]
    end = row['time'] + task.horizon
    window = mine[(mine['date'] > row['time']) & (mine['date'] <= end)]
    expected = len(window) > 0 if kind == 'binary' else window['amount'].sum()
    assert row['label'] == pytest.approx(float(expected))
    train = task.frame[task.frame['split'] == 'train']
    assert (train['time'] + task.horizon <= task.cutoffs['train']).all()


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"'multiclass' \(got 'ranking'\)"):
        toy_task(kind='ranking')


def test_random_databases_hold_what_goes_wrong():
    seen = set()
    for seed in range(40):
        db = random_database(seed)
        for name, table in db.table_dict.items():
            parents = list(table.fkey_col_to_pkey_table.values())
            if name in parents:
                seen.add('self-reference')
            if len(set(parents)) < len(parents):
                seen.add('several keys to one table')
            if table.time_col is None:
                seen.add('undated')
            else:
                time = table.df[table.time_col]
                seen.add('missing time' if time.isna().any() else 'all times')
                if time.duplicated().any():
                    seen.add('equal times')
            for fkey, parent in table.fkey_col_to_pkey_table.items():
                keys = table.df[fkey].dropna()
                seen.add('null key' if len(keys) < len(table.df) else 'full key')
                index = db.table_dict[parent].df['id']
                seen.add('valid' if keys.isin(index).all() else 'dangling key')
            if not any(c.startswith(('column', 'time')) for c in table.df):
                seen.add('keys alone')
        task = random_task(db, seed, ['forecast', 'autocomplete'][seed % 2])
        assert task.frame['time'].notna().all()
    assert seen >= {
        'self-reference',
        'several keys to one table',
        'undated',
        'missing time',
        'equal times',
        'null key',
        'dangling key',
        'keys alone',
    }
    undated = random_database(3, dated=False)
    assert all(table.time_col is None for table in undated.table_dict.values())
