r"""A reproducible shop database of any size, with heavy-tailed fan-out.

Nine tables, four of them dated; the number of children of a parent follows a
power law, so that a few hubs have a sizeable share of all rows. Rows lie in no
order of time.

    python benchmark/synthetic.py --rows 1000000 --out folder

writes its tables as Parquet with a :obj:`tables.json`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from relbench.base import Database, Table

from torch_geometric_rfm.data import CellStore, CellType, Task, TaskStore, to_hetero

START, END = pd.Timestamp('2015-01-01'), pd.Timestamp('2025-01-01')
VAL, TEST = pd.Timestamp('2023-01-01'), pd.Timestamp('2024-01-01')

SHARES = {
    'regions': None,
    'categories': None,
    'stores': 0.001,
    'brands': 0.002,
    'products': 0.01,
    'users': 0.05,
    'orders': 0.25,
    'items': 0.45,
    'reviews': 0.237,
}
FKEYS = {
    'stores': {'region_id': 'regions'},
    'categories': {'parent_id': 'categories'},
    'products': {'category_id': 'categories', 'brand_id': 'brands'},
    'users': {'region_id': 'regions'},
    'orders': {'user_id': 'users', 'store_id': 'stores'},
    'items': {'order_id': 'orders', 'product_id': 'products'},
    'reviews': {'user_id': 'users', 'product_id': 'products'},
}
NUMBERS = {
    'regions': 3,
    'categories': 2,
    'stores': 4,
    'brands': 3,
    'products': 5,
    'users': 5,
    'orders': 4,
    'items': 4,
    'reviews': 3,
}
DATED = ('users', 'orders', 'items', 'reviews')
STRINGS = {'regions': 50, 'categories': 100, 'products': 40, 'users': 8}


def make_database(num_rows: int, seed: int = 0) -> Database:
    r"""The database with about :obj:`num_rows` rows."""
    rng = np.random.default_rng(seed)
    sizes = {
        name: 100 if share is None else max(10, int(share * num_rows))
        for name, share in SHARES.items()
    }
    tables, seconds = {}, int((END - START).total_seconds())
    for name, size in sizes.items():
        columns = {'id': np.arange(size)}
        for fkey, parent in FKEYS.get(name, {}).items():
            # A power law: the i-th parent has in proportion to i ** (-2 / 3).
            owner = (sizes[parent] * rng.random(size) ** 3).astype(np.int64)
            columns[fkey] = rng.permutation(sizes[parent])[owner]
        for i in range(NUMBERS[name]):
            values = rng.normal(size=size)
            values[rng.random(size) < 0.05] = np.nan
            columns[f'x{i}'] = values
        if name in STRINGS:
            words = np.array([f'{name} {i}' for i in range(STRINGS[name])])
            columns['kind'] = pd.Categorical.from_codes(
                rng.integers(0, len(words), size), words
            ).astype(object)
        if name in DATED:
            offset = rng.integers(0, seconds, size)
            if name == 'users':  # Most were there from the start.
                offset = offset // 10
            columns['time'] = START + pd.to_timedelta(offset, unit='s')
        tables[name] = Table(
            pd.DataFrame(columns),
            FKEYS.get(name, {}),
            pkey_col='id',
            time_col='time' if name in DATED else None,
        )
    return Database(tables)


def make_task(db: Database, num_rows: int = 50_000, seed: int = 0) -> Task:
    r"""A binary task about users at random times."""
    rng = np.random.default_rng(seed)
    users = db.table_dict['users'].df
    entity = rng.integers(0, len(users), num_rows)
    first = users['time'].to_numpy()[entity].astype('datetime64[s]').astype(np.int64)
    last = int(END.timestamp())
    time = first + ((last - first) * rng.random(num_rows)).astype(np.int64) + 1
    stamp = pd.to_datetime(time, unit='s')
    split = np.where(stamp < VAL, 'train', np.where(stamp < TEST, 'val', 'test'))
    frame = pd.DataFrame({'entity': entity, 'time': stamp})
    frame['label'] = rng.integers(0, 2, num_rows).astype(float)
    frame['split'] = split
    return Task(
        name='user-returns',
        entity_table='users',
        entity_col='user_id',
        time_col='time',
        target_col='returns',
        cell_type=CellType.BOOLEAN,
        horizon=pd.Timedelta('30 days'),
        frame=frame,
        cutoffs={'train': VAL, 'val': VAL, 'test': TEST},
    )


def make_store(num_rows: int, seed: int = 0) -> TaskStore:
    r"""The store of the database, with its task."""
    db = make_database(num_rows, seed)
    data, col_stats = to_hetero(db, cutoff=VAL)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder='hashing', cutoff=VAL, cache_dir=False
    )
    return store.with_task(make_task(db, seed=seed))


def write_parquet(db: Database, task: Task, folder: Path) -> None:
    r"""Writes the tables, and what their columns mean as :obj:`tables.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for name, table in db.table_dict.items():
        table.df.to_parquet(folder / f'{name}.parquet', index=False)
        tables[name] = {
            'file': f'{name}.parquet',
            'pkey': table.pkey_col,
            'fkeys': table.fkey_col_to_pkey_table,
            'time': table.time_col,
        }
    frame = task.frame.rename(columns={'entity': 'user_id', 'label': 'returns'})
    frame.to_parquet(folder / 'task.parquet', index=False)
    about = {
        'file': 'task.parquet',
        'entity_col': task.entity_col,
        'entity_table': task.entity_table,
        'time_col': task.time_col,
        'target_col': task.target_col,
    }
    content = {'tables': tables, 'task': about}
    (folder / 'tables.json').write_text(json.dumps(content, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, default=1_000_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    db = make_database(args.rows, args.seed)
    write_parquet(db, make_task(db, seed=args.seed), args.out)
    print(f'{db} is in {args.out}')


if __name__ == '__main__':
    main()
