from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from relbench.base import Database, Table
from relbench.modeling.graph import make_pkey_fkey_graph
from torch_frame import TensorFrame, stype
from torch_frame.config import TextEmbedderConfig
from torch_geometric.data import HeteroData

from torch_geometric_rfm.data import (
    CellStore,
    HashingTextEncoder,
    load_database,
    to_hetero,
)
from torch_geometric_rfm.data.statistics import mean_and_std
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import toy_database

ENCODER = HashingTextEncoder(channels=8)
REL_F1 = Path(__file__).resolve().parents[2] / 'examples' / 'data' / 'rel-f1'
STYPE = {
    'number': stype.numerical,
    'boolean': stype.categorical,
    'datetime': stype.timestamp,
    'category': stype.categorical,
    'text': stype.text_embedded,
}
# Frame 0.3 under pandas 3 hands read-only arrays to torch.
FRAME = pytest.mark.filterwarnings('ignore')


def build(data, col_stats=None, **kwargs):
    return CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cache_dir=False, **kwargs
    )


def embed(strings):
    # Frame hands over nulls, too.
    return ENCODER.encode([str(string) for string in strings])


def relbench_graph(db, cutoff=None):
    ours, col_stats = to_hetero(db, cutoff=cutoff)
    kinds = {
        name: {column: STYPE[kind] for column, kind in ours[name].cell_types.items()}
        for name in db.table_dict
    }
    config = TextEmbedderConfig(embed, batch_size=4096)
    theirs, their_stats = make_pkey_fkey_graph(db, kinds, config)
    return (ours, col_stats), (theirs, their_stats)


def all_contexts(store, table, time, **kwargs):
    loader = ContextLoader(
        store, input_nodes=(table, None), input_time=time, batch_size=10**6, **kwargs
    )
    return next(iter(loader))


def assert_same_cells(first, second):
    assert first.column_names == second.column_names
    assert first.fkey_names == second.fkey_names
    for key in ('row', 'column', 'row_time', 'row_table', 'row_index', 'ptr'):
        assert torch.equal(first[key], second[key]), key
    for key in ('fkey_index', 'fkey_type', 'seed_row'):
        assert torch.equal(first[key], second[key]), key
    assert torch.allclose(first.value, second.value, atol=1e-6)
    assert torch.allclose(first.relative_time, second.relative_time)
    strings = [c.text_embedding[c.text_index] for c in (first, second)]
    assert torch.allclose(*strings, atol=1e-6)
    is_string = [c.cell_type >= 3 for c in (first, second)]
    assert torch.equal(*is_string)


@FRAME
@pytest.mark.parametrize('unit', ['s', 'us', 'ns'])
@pytest.mark.parametrize('with_db', [False, True])
def test_the_graph_of_relbench_gives_the_same_cells(unit, with_db):
    db = toy_database()
    for table in db.table_dict.values():
        if table.time_col is not None:
            times = table.df[table.time_col].astype(f'datetime64[{unit}]')
            table.df[table.time_col] = times
    if not with_db:  # Frame embeds a null text as the string of it.
        note = db.table_dict['orders'].df['note']
        db.table_dict['orders'].df['note'] = note.fillna('nothing')
    cutoff = pd.Timestamp('2021-05-01')
    ours, theirs = relbench_graph(db, cutoff)
    first = build(*ours, cutoff=cutoff)
    second = build(*theirs, cutoff=cutoff, db=db if with_db else None)
    time = int(pd.Timestamp('2021-08-01').timestamp())
    assert_same_cells(
        all_contexts(first, 'shops', time), all_contexts(second, 'shops', time)
    )
    assert np.array_equal(first.arrays.row_time, second.arrays.row_time)


@FRAME
def test_the_graph_of_relbench_gives_the_same_cells_on_rel_f1():
    db = load_database(REL_F1)
    cutoff = pd.Timestamp('2005-01-01')
    ours, theirs = relbench_graph(db, cutoff)
    first = build(*ours, cutoff=cutoff)
    second = build(*theirs, cutoff=cutoff, db=db)
    time = int(cutoff.timestamp())
    for table in ('drivers', 'circuits'):
        cells = all_contexts(first, table, time)
        assert cells.num_nodes > 50 * cells.num_contexts
        assert_same_cells(cells, all_contexts(second, table, time))
    assert np.array_equal(first.arrays.row_time, second.arrays.row_time)
    # The time that is 1000 times too small is found out from the column, too.
    third = build(*theirs, cutoff=cutoff)
    assert np.array_equal(first.arrays.row_time, third.arrays.row_time)


def test_normalisation():
    values = np.array([1.0, 2.0, np.nan, 4.0, 1e30])
    heavy = np.array([0.0, 0.0, 0.0, 0.0, 1e30])
    frame = pd.DataFrame(
        {
            'constant': np.full(5, 0.1),
            'empty': np.full(5, np.nan),
            'heavy': heavy,
            'tiny': np.arange(5) * 1e-30,
            'values': values,
            'yes': np.full(5, True),
        }
    )
    time = pd.to_datetime(['2020-01-01'] * 4 + ['2021-01-01'])
    table = Table(frame.assign(time=time), {}, time_col='time')
    db = Database({'t': table})
    data, col_stats = to_hetero(db)
    cutoff = pd.Timestamp('2020-06-01')
    store = build(data, col_stats, cutoff=cutoff)
    cells = all_contexts(store, 't', int(pd.Timestamp('2022-01-01').timestamp()))

    def column(name):
        number = cells.column_names.index(f'{name} of t')
        return cells.value[cells.column == number].tolist()

    assert column('constant') == [0.0] * 5
    assert column('yes') == [0.5] * 5  # Centred, so that its sign is its value.
    assert column('empty') == []
    assert column('heavy') == [0.0, 0.0, 0.0, 0.0, 1e4]
    known = pd.Series(values[:4])
    expected = ((known - known.mean()) / known.std()).dropna()
    assert column('values') == pytest.approx([*expected, 1e4], rel=1e-5)
    tiny = pd.Series(np.arange(5) * 1e-30)
    expected = (tiny - tiny[:4].mean()) / tiny[:4].std()
    assert column('tiny') == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)
    assert cells.value.isfinite().all()


def test_mean_and_std():
    assert mean_and_std(np.zeros(0)) == (0.0, 1.0)
    assert mean_and_std(np.array([np.nan, 3.0])) == (3.0, 1.0)
    assert mean_and_std(np.array([5.0, 5.0])) == (5.0, 1.0)
    for scale in (1e-40, 1.0, 1e38, 1e300):
        mean, std = mean_and_std(np.array([1.0, 2.0, 3.0, np.nan]) * scale)
        assert mean == pytest.approx(2 * scale)
        assert std == pytest.approx(scale)


def test_ordinary_graphs():
    data = HeteroData()
    data['user'].x = torch.tensor([[1.0, 2.0], [3.0, float('inf')]])
    data['movie'].x = torch.tensor([[1.0], [2.0], [3.0]])
    data['movie'].feature_names = ['year']
    data['movie'].time = torch.tensor([10, 20, 30])
    data['studio'].num_nodes = 1
    rates = data['user', 'rates', 'movie']
    rates.edge_index = torch.tensor([[0, 0, 1], [0, 1, 2]])
    rates.edge_attr = torch.tensor([[0.5], [1.5], [2.5]])
    rates.time = torch.tensor([15, 25, 35])
    # Functional in the data, hence a foreign key; twice, to two node types.
    data['movie', 'of', 'studio'].edge_index = torch.tensor([[0, 1], [0, 0]])
    data['movie', 'of', 'user'].edge_index = torch.tensor([[2], [1]])
    # Not functional, and with a reverse that is not another table.
    data['user', 'likes', 'user'].edge_index = torch.tensor([[0, 0], [0, 1]])
    data['user', 'rev_likes', 'user'].edge_index = torch.tensor([[0, 1], [0, 0]])
    store = build(data)
    likes = 'user__likes__user'
    assert store.table_names == ['user', 'movie', 'studio', 'user__rates__movie', likes]
    assert store.column_names == [
        'x_0 of user',
        'x_1 of user',
        'year of movie',
        'rates of user__rates__movie',
    ]
    assert store.fkey_names == [
        'movie.of',
        'movie.of_user',
        'user__rates__movie.user_id',
        'user__rates__movie.movie_id',
        f'{likes}.user_source_id',
        f'{likes}.user_target_id',
    ]
    cells = next(iter(ContextLoader(store, input_nodes=('user', [0]), input_time=25)))
    names = [cells.table_names[i] for i in cells.row_table]
    found = sorted(zip(names, cells.row_index.tolist()))
    assert found == [
        ('movie', 0),
        ('movie', 1),
        ('studio', 0),
        ('user', 0),
        ('user', 1),
        (likes, 0),
        (likes, 1),
        ('user__rates__movie', 0),
        ('user__rates__movie', 1),
    ]
    # No cell for infinity, none for keys, one for each edge attribute.
    phrases = [cells.column_names[i] for i in cells.column]
    assert phrases.count('x_1 of user') == 1
    assert phrases.count('rates of user__rates__movie') == 2
    assert repr(store) == 'CellStore(tables=5, rows=11, columns=4, fkeys=6, strings=0)'


def test_embeddings_that_came_with_the_graph():
    vectors = torch.randn(4, 1, 8)
    vectors[3] = vectors[0]
    data = HeteroData()
    data['t'].tf = TensorFrame(
        {stype.embedding: frame_embedding(vectors)}, {stype.embedding: ['picture']}
    )
    store = build(data)
    cells = next(iter(ContextLoader(store, input_nodes='t', input_time=0)))
    assert (cells.cell_type == 5).all()
    assert store.text_embedding.size() == (4, 8)
    assert torch.equal(cells.text_embedding[cells.text_index], vectors[:, 0])
    data['t'].tf = TensorFrame(
        {stype.embedding: frame_embedding(vectors[..., :3])},
        {stype.embedding: ['picture']},
    )
    with pytest.raises(ValueError, match="'picture of t' has 3 channels.* has 8"):
        build(data)


def frame_embedding(vectors):
    from torch_frame.data import MultiEmbeddingTensor

    rows, columns, channels = vectors.size()
    return MultiEmbeddingTensor(
        num_rows=rows,
        num_cols=columns,
        values=vectors.reshape(rows, -1),
        offset=torch.arange(columns + 1) * channels,
    )


def test_cell_types():
    data, col_stats = to_hetero(toy_database())
    store = build(data, col_stats, cell_types={'orders': {'status': 'text'}})
    types = dict(zip(store.column_names, store.arrays.column_type.tolist()))
    assert types['status of orders'] == 4
    assert types['city of shops'] == 3
    assert types['note of orders'] == 4
    with pytest.raises(ValueError, match=r"unknown table \(got \['u'\]"):
        build(data, col_stats, cell_types={'u': {}})


def test_errors():
    data, _ = to_hetero(toy_database())
    with pytest.raises(ValueError, match='pass the col_stats that came with the graph'):
        build(data)
    data = HeteroData()
    data['t'].x = torch.zeros(0, 2)
    with pytest.raises(ValueError, match=r"'t' has no rows \(got num_nodes=0\)"):
        build(data)
    data['t'].x = torch.zeros(2, 2)
    data['t'].feature_names = ['a']
    with pytest.raises(ValueError, match=r'must name 2 columns \(got 1\)'):
        build(data)
    data['t'].feature_names = ['a', 'b']
    data['t'].time = torch.zeros(3)
    with pytest.raises(ValueError, match=r'of shape \[2\] \(got \[3\]\)'):
        build(data)
    del data['t'].time
    data['t', 'to', 't'].edge_index = torch.tensor([[0], [2]])
    with pytest.raises(ValueError, match="points outside node type 't' .*got 2, num_n"):
        build(data)
    data = HeteroData()
    data['t'].tf = TensorFrame(
        {stype.image_embedded.parent: frame_embedding(torch.randn(2, 1, 8))},
        {stype.image_embedded.parent: ['a']},
    )
    build(data)  # What is embedded already is welcome.
    from torch_frame.data import MultiNestedTensor

    nested = MultiNestedTensor.from_tensor_mat(
        [[torch.tensor([1])], [torch.tensor([2])]]
    )
    data['t'].tf = TensorFrame(
        {stype.multicategorical: nested}, {stype.multicategorical: ['tags']}
    )
    with pytest.raises(ValueError, match="'tags' of table 't' has stype 'multicateg"):
        build(data)


def test_row_ids_are_small():
    store = build(*to_hetero(toy_database()))
    assert store.arrays.parents.dtype == np.int32
    assert store.arrays.child_row.dtype == np.int32
    assert store.arrays.numbers.dtype == np.float32
