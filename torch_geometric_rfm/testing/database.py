from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.data.to_hetero import to_hetero

if TYPE_CHECKING:
    from relbench.base import Database

START = pd.Timestamp('2020-01-01')
VAL_TIMESTAMP = pd.Timestamp('2021-05-01')
TEST_TIMESTAMP = pd.Timestamp('2021-09-01')
_NUM_DAYS = 730
_WINDOW = pd.Timedelta('30 days')
_KINDS = {
    'binary': ('customer-orders', 'orders', CellType.BOOLEAN),
    'regression': ('customer-amount', 'amount', CellType.NUMBER),
    'multiclass': ('customer-size', 'size', CellType.CATEGORY),
}


def toy_database(seed: int = 0) -> 'Database':
    r"""A small shop: orders of customers, who belong to shops.

    It has undated rows (shops) and dated ones, numbers, booleans, datetimes,
    categories, text and nulls, in the years 2020 and 2021.

    Args:
        seed (int): Seed of the rows. (default: :obj:`0`)

    Example:
        >>> toy_database()
        Database(shops=4, customers=30, orders=200)
    """
    from relbench.base import Database, Table

    rng = np.random.default_rng(seed)
    shops = pd.DataFrame(
        {
            'shop_id': np.arange(4),
            'city': ['Aachen', 'Bremen', 'Celle', 'Aachen'],
            'area': [120.0, 80.0, np.nan, 200.0],
        }
    )
    joined = START + pd.to_timedelta(np.sort(rng.integers(0, 300, 30)), unit='D')
    shop = rng.integers(0, 4, 30).astype(np.float64)
    shop[[3, 17]] = np.nan
    customers = pd.DataFrame(
        {
            'customer_id': np.arange(30),
            'shop_id': shop,
            'joined': joined,
            'age': np.where(rng.random(30) < 0.2, np.nan, rng.integers(18, 80, 30)),
            'about': [f'customer number {i}' for i in range(30)],
        }
    )
    customer = rng.integers(0, 30, 200)
    days = (pd.Series(joined)[customer] - START).dt.days.to_numpy()
    day = days + (rng.random(200) * (_NUM_DAYS - days)).astype(np.int64)
    order = np.argsort(day, kind='stable')
    customer, day = customer[order], day[order]
    amount = np.round(rng.gamma(2.0, 10.0 + customer % 5, 200), 2)
    note = np.array([f'note {i % 40}' for i in range(200)], dtype=object)
    note[rng.random(200) < 0.3] = None
    orders = pd.DataFrame(
        {
            'order_id': np.arange(200),
            'customer_id': customer,
            'date': START + pd.to_timedelta(day, unit='D'),
            'amount': amount,
            'gift': rng.random(200) < 0.3,
            'status': rng.choice(['paid', 'returned', 'open'], 200),
            'note': note,
        }
    )
    return Database(
        {
            'shops': Table(shops, {}, pkey_col='shop_id'),
            'customers': Table(
                customers, {'shop_id': 'shops'}, 'customer_id', time_col='joined'
            ),
            'orders': Table(
                orders, {'customer_id': 'customers'}, 'order_id', time_col='date'
            ),
        }
    )


def toy_task(db: 'Database | None' = None, kind: str = 'binary') -> Task:
    r"""A forecast on :func:`toy_database`: what a customer orders in 30 days.

    Args:
        db (relbench.base.Database, optional): A toy database.
            (default: :obj:`None`)
        kind (str): :obj:`"binary"` for whether there is an order,
            :obj:`"regression"` for the amount, :obj:`"multiclass"` for none, a
            small or a large one. (default: :obj:`"binary"`)

    Example:
        >>> toy_task(kind='regression').frame['split'].value_counts().to_dict()
        {'train': 306, 'val': 120, 'test': 90}
    """
    if kind not in _KINDS:
        known = ', '.join(map(repr, _KINDS))
        raise ValueError(f"kind must be one of {known} (got '{kind}')")
    db = toy_database() if db is None else db
    customers, orders = db.table_dict['customers'].df, db.table_dict['orders'].df
    frames = []
    for time in _question_times():
        entity = np.flatnonzero((customers['joined'] <= time).to_numpy())
        window = orders[(orders['date'] > time) & (orders['date'] <= time + _WINDOW)]
        amount = window.groupby('customer_id')['amount'].sum()
        label = amount.reindex(entity, fill_value=0.0).to_numpy()
        if kind == 'binary':
            label = (label > 0).astype(np.float64)
        elif kind == 'multiclass':
            label = np.digitize(label, [1e-9, 40.0]).astype(np.float64)
        split = 'train'
        if time >= VAL_TIMESTAMP:
            split = 'val' if time < TEST_TIMESTAMP else 'test'
        columns = {'entity': entity, 'time': time, 'label': label, 'split': split}
        frames.append(pd.DataFrame(columns))
    return Task(
        name=_KINDS[kind][0],
        entity_table='customers',
        entity_col='customer_id',
        time_col='timestamp',
        target_col=_KINDS[kind][1],
        cell_type=_KINDS[kind][2],
        horizon=_WINDOW,
        frame=pd.concat(frames, ignore_index=True),
        classes=['none', 'small', 'large'] if kind == 'multiclass' else [],
        cutoffs={'train': VAL_TIMESTAMP, 'val': VAL_TIMESTAMP, 'test': TEST_TIMESTAMP},
    )


def toy_task_store(kind: str = 'binary', db: Any = None) -> TaskStore:
    r"""The store of :func:`toy_database` with :func:`toy_task` laid over it.

    Args:
        kind (str): See :func:`toy_task`. (default: :obj:`"binary"`)
        db (relbench.base.Database, optional): A toy database.
            (default: :obj:`None`)

    Example:
        >>> toy_task_store().task.name
        'customer-orders'
    """
    db = toy_database() if db is None else db
    data, col_stats = to_hetero(db, cutoff=VAL_TIMESTAMP)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder='hashing', cutoff=VAL_TIMESTAMP, cache_dir=False
    )
    return store.with_task(toy_task(db, kind))


def _question_times() -> list[pd.Timestamp]:
    # Train windows end before the validation cut; the others follow each cut.
    train = pd.date_range(end=VAL_TIMESTAMP - _WINDOW, periods=14, freq='30D')
    val = pd.date_range(VAL_TIMESTAMP, periods=4, freq='30D')
    return [*train, *val, *pd.date_range(TEST_TIMESTAMP, periods=3, freq='30D')]
