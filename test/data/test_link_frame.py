import numpy as np
import pandas as pd
import pytest

from torch_geometric_rfm.audit.raw_task import RawTask
from torch_geometric_rfm.data import LinkTask, load_dataset, load_task
from torch_geometric_rfm.testing import toy_database

REL_F1 = 'examples/data/rel-f1'
CUTOFFS = {'val_timestamp': '2021-05-01', 'test_timestamp': '2021-09-01'}


def links(**changes):
    frame = {
        'customer_id': [3, 3, 7, 5, 5],
        'date': pd.to_datetime(
            ['2021-02-01', '2021-02-01', '2021-05-02', '2021-09-03', '2021-09-03']
        ),
        'shop_id': [2, 0, 1, 3, 1],
    }
    return pd.DataFrame({**frame, **changes})


def task_of(frame, **kwargs):
    arguments = {'destination_table': 'shops', 'horizon': '30 days', **CUTOFFS}
    return LinkTask.from_frame(frame, toy_database(), 'customers', **arguments | kwargs)


def test_is_the_task_of_relbench():
    r"""Driver and circuit of every race, as RelBench itself lists them."""
    dataset = load_dataset(REL_F1)
    expected = LinkTask.from_relbench(load_task(dataset, 'driver-circuit-compete'))
    source = expected.relbench_task
    frames = [
        source.get_table(split, mask_input_cols=False).df.assign(split=split)
        for split in ('train', 'val', 'test')
    ]
    lists = pd.concat(frames, ignore_index=True)
    for frame in (lists, lists.explode('circuitId', ignore_index=True)):
        task = LinkTask.from_frame(
            frame,
            dataset,
            'drivers',
            expected.horizon,
            destination_table='circuits',
            name='driver-circuits',
            k=source.eval_k,
        )
        pd.testing.assert_frame_equal(
            task.frame.drop(columns='destinations'),
            expected.frame.drop(columns='destinations'),
            check_dtype=False,
        )
        for found, truth in zip(
            task.frame['destinations'], expected.frame['destinations']
        ):
            assert found.tolist() == truth.tolist()
        assert task.cutoffs == expected.cutoffs
        assert task.destination_keys.tolist() == expected.destination_keys.tolist()
        # Scored alike, too.
        prediction = np.tile(
            np.arange(task.k), (len(expected.labels_of_split('val')), 1)
        )
        own = task.evaluate(prediction, 'val')
        relbench = expected.evaluate(prediction, 'val')
        assert own['map'] == pytest.approx(relbench['map'])


def test_links_of_an_entity_and_time_are_gathered():
    task = task_of(links(), k=2)
    assert task.frame['entity'].tolist() == [3, 7, 5]
    assert task.frame['label'].tolist() == [2, 1, 2]
    assert task.frame['split'].tolist() == ['train', 'val', 'test']
    assert [one.tolist() for one in task.frame['destinations']] == [[0, 2], [1], [1, 3]]
    assert (task.k, task.target_col, task.destination_col) == (2, 'shop_id', 'shop_id')


def test_rows_without_a_destination_are_to_be_predicted():
    task = task_of(links(shop_id=[2.0, 0.0, 1.0, np.nan, np.nan]))
    assert task.frame['label'].isna().tolist() == [False, False, True]
    assert task.frame['destinations'][2].size == 0


def test_a_query_of_links():
    sql = """
        SELECT DISTINCT shop_id, timestamp, customer_id FROM timestamps
        JOIN orders ON date > timestamp AND date <= timestamp + INTERVAL '{horizon}'
        JOIN customers USING (customer_id) WHERE shop_id IS NOT NULL
    """
    db = toy_database()
    task = LinkTask.from_sql(
        sql, db, 'shops', '30 days', destination_table='customers', **CUTOFFS
    )
    customers, orders = db.table_dict['customers'].df, db.table_dict['orders'].df
    shop = customers['shop_id'].to_numpy()[orders['customer_id']]
    assert len(task.frame) > 20
    for row in task.frame.itertuples():
        window = (orders['date'] > row.time) & (
            orders['date'] <= row.time + pd.Timedelta(days=30)
        )
        here = orders['customer_id'][window & (shop == row.entity)]
        assert row.destinations.tolist() == sorted(set(here))
        assert row.label == len(row.destinations)


def test_a_query_that_looks_beyond_its_horizon_is_found_out():
    sql = """
        SELECT DISTINCT shop_id, timestamp, customer_id FROM timestamps
        JOIN orders ON date > timestamp AND date <= timestamp + INTERVAL '90 days'
        JOIN customers USING (customer_id) WHERE shop_id IS NOT NULL
    """
    arguments = (sql, toy_database(), 'shops', '30 days')
    options = {'destination_table': 'customers', **CUTOFFS}
    with pytest.raises(ValueError, match=r'needs rows after time \+ horizon'):
        LinkTask.from_sql(*arguments, **options)
    assert LinkTask.from_sql(*arguments, check_horizon=False, **options).k == 10


@pytest.mark.parametrize(
    ('changes', 'kwargs', 'match'),
    [
        ({}, {'destination_table': 'malls'}, "table 'malls', which the database lacks"),
        ({}, {'k': 0}, r"k of task 'task' must be positive \(got 0\)"),
        ({}, {'target_col': 'mall'}, "no column 'mall'"),
        ({}, {'classes': ['a']}, r"recommends, and has no classes \(got \['a'\]\)"),
        (
            {'shop_id': [2, 2, 1, 3, 1]},
            {},
            r'names a destination twice for customer_id 3, date 2021-02-01',
        ),
        ({'shop_id': [2, 9, 1, 3, 1]}, {}, r"table 'shops' lacks \(first is 9\)"),
        ({'customer_id': [3, 3, 99, 5, 5]}, {}, r"table 'customers' .*99"),
        ({'customer_id': [3, 3, np.nan, 5, 5]}, {}, "'customer_id' .* null in row 2"),
        ({'shop_id': [2, np.nan, 1, 3, 1]}, {}, "'shop_id' .* null beside other rows"),
        ({'shop_id': [2, 'x', 1, 3, 1]}, {}, r"table 'shops' lacks \(first is 'x'\)"),
        (
            {'split': ['train', 'val', 'val', 'test', 'test']},
            {},
            "'split' .* be the same",
        ),
        ({}, {'target_col': 'customer_id'}, "one column 'customer_id' for two things"),
        ({}, {'name': 'shops'}, 'must not be that of a table'),
        ({}, {'horizon': None}, 'must say when they become known'),
    ],
)
def test_bad_input(changes, kwargs, match):
    with pytest.raises(ValueError, match=match):
        task_of(links(**changes), **kwargs)


def test_a_destination_without_a_column():
    frame = links().rename(columns={'shop_id': 'shop'})
    with pytest.raises(ValueError, match=r'name no destination: pass target_col='):
        task_of(frame)
    assert task_of(frame, target_col='shop').destination_col == 'shop'


def test_what_tables_are_called_is_checked_first():
    with pytest.raises(ValueError, match="entity_table must be a table .*'clients'"):
        LinkTask.from_frame(
            links(), toy_database(), 'clients', '30 days', destination_table='shops'
        )
    with pytest.raises(ValueError, match="table 'malls', which the database lacks"):
        LinkTask.from_sql(
            'SELECT 1', toy_database(), 'customers', '1 day', destination_table='malls'
        )


def test_links_may_be_lists_and_columns_of_categories():
    expected = task_of(links())
    frame = links().groupby(['customer_id', 'date'], sort=False)['shop_id']
    frame = frame.agg(list).reset_index()
    split = pd.Categorical(['train', 'val', 'test'], ['train', 'val', 'test', 'other'])
    for given in (frame, frame.assign(split=split)):
        task = task_of(given)
        assert task.frame['label'].tolist() == expected.frame['label'].tolist()
        assert task.frame['split'].tolist() == expected.frame['split'].tolist()
        found, truth = task.frame['destinations'], expected.frame['destinations']
        assert [one.tolist() for one in found] == [one.tolist() for one in truth]


def test_a_query_with_as_many_but_other_links_is_found_out():
    # Each shop's last customer to come: always one, and not known for long.
    sql = """
        SELECT shop_id, timestamp, arg_max(customer_id, date) AS customer_id
        FROM timestamps JOIN orders ON date > timestamp
        JOIN customers USING (customer_id)
        WHERE shop_id IS NOT NULL GROUP BY ALL
    """
    with pytest.raises(ValueError, match=r'needs rows after time \+ horizon'):
        LinkTask.from_sql(
            sql,
            toy_database(),
            'shops',
            '30 days',
            destination_table='customers',
            **CUTOFFS,
        )


def test_the_audit_refuses_it():
    with pytest.raises(ValueError, match="'task', a recommendation task"):
        RawTask(task_of(links()))
