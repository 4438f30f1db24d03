from types import SimpleNamespace

import pandas as pd

from torch_geometric_rfm.datasets import SyntheticRelationalDatabase
from torch_geometric_rfm.visualization import plot_schema
from torch_geometric_rfm.visualization.schema import table_depths


def database(**keys):
    tables = {
        name: SimpleNamespace(
            df=pd.DataFrame({'id': [0], **{f'c{i}': [0.0] for i in range(12)}}),
            fkey_col_to_pkey_table=parents,
            pkey_col='id',
            time_col=None,
        )
        for name, parents in keys.items()
    }
    return SimpleNamespace(table_dict=tables)


def test_parents_lie_above():
    db = SyntheticRelationalDatabase(3, num_tables=8, num_rows=2000).db
    depths = table_depths(db)
    assert set(depths) == set(db.table_dict)
    for name, table in db.table_dict.items():
        for parent in table.fkey_col_to_pkey_table.values():
            assert depths[parent] < depths[name]


def test_cycles_and_tables_of_their_own_end():
    db = database(a={'x': 'b'}, b={'x': 'a'}, tree={'parent': 'tree'}, lone={})
    depths = table_depths(db)
    assert depths['tree'] == depths['lone'] == 0
    assert set(depths) == {'a', 'b', 'tree', 'lone'}
    plot_schema(db)


def test_a_picture_names_every_table_and_key(tmp_path):
    db = SyntheticRelationalDatabase(1, num_tables=5, num_rows=2000).db
    path = tmp_path / 'schema.png'
    figure = plot_schema(db, path)
    assert path.stat().st_size > 10_000
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    for name, table in db.table_dict.items():
        assert f'{name}  ({len(table.df):,})' in texts
    keys = [
        p for t in db.table_dict.values() for p in t.fkey_col_to_pkey_table.values()
    ]
    assert sum(text.startswith('→ ') for text in texts) == len(keys)
    arrows = [text for text in axes.texts if text.get_text() == '']
    assert len(arrows) == len(keys)


def test_many_columns_are_counted():
    (axes,) = plot_schema(database(wide={})).axes
    assert '  and 5 more' in [text.get_text() for text in axes.texts]
