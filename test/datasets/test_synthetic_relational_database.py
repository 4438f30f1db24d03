import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import CellStore, HashingTextEncoder, to_hetero
from torch_geometric_rfm.datasets import SyntheticRelationalDatabase
from torch_geometric_rfm.datasets.remembering_encoder import remembering_encoder
from torch_geometric_rfm.datasets.synthetic.schema_graph import (
    MAX_PARENTS,
    SCHEMA_GRAPHS,
)

seeds = st.integers(0, 10_000)


def small(seed, **arguments):
    arguments = {'num_tables': (3, 9), 'num_rows': (600, 1500), **arguments}
    return SyntheticRelationalDatabase(seed, **arguments)


def links(db):
    r"""Each child column of keys: child table, key, parent table, key values."""
    for name, table in db.table_dict.items():
        for fkey, parent in table.fkey_col_to_pkey_table.items():
            yield name, fkey, parent, table.df[fkey]


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(3, 20), st.sampled_from(sorted(SCHEMA_GRAPHS)))
def test_schemas_are_connected_and_acyclic(seed, num_tables, graph):
    parents = SCHEMA_GRAPHS[graph](num_tables, np.random.default_rng(seed))
    assert len(parents) == num_tables
    reached, edges = {0}, set()
    for table, above in enumerate(parents):
        assert len(set(above)) == len(above) <= MAX_PARENTS + 1
        assert all(0 <= parent < table for parent in above)
        edges |= {(table, parent) for parent in above}
    for _ in range(num_tables):
        for a, b in edges:
            if a in reached or b in reached:
                reached |= {a, b}
    assert reached == set(range(num_tables))


def test_schema_graphs_differ_in_kind():
    rng = np.random.default_rng(0)
    tree = SCHEMA_GRAPHS['reverse_random_tree'](20, rng)
    # A snowflake: each table but the facts is referenced by exactly one.
    referenced = [parent for parents in tree for parent in parents]
    assert sorted(referenced) == list(range(19))
    hubs = [
        np.bincount(sum(SCHEMA_GRAPHS['barabasi_albert'](20, rng), [])).max()
        for _ in range(20)
    ]
    assert np.mean(hubs) > 5


@settings(max_examples=6, deadline=None)
@given(seeds)
def test_keys_are_valid_and_no_row_is_older_than_its_parents(seed):
    dataset = small(seed)
    db = dataset.db
    assert 3 <= len(db.table_dict) <= 9
    order = list(db.table_dict)
    referenced = set()
    for name, fkey, parent, keys in links(db):
        referenced.add(parent)
        assert order.index(parent) < order.index(name)
        child, above = db.table_dict[name], db.table_dict[parent]
        present = keys.notna().to_numpy()
        rows = keys[present].to_numpy(dtype=np.int64)
        assert rows.min() >= 0
        assert rows.max() < len(above.df)
        assert (~present).mean() < 0.45
        if above.time_col is not None:
            assert child.time_col is not None, (name, fkey)
            time = child.df[child.time_col].to_numpy()[present]
            assert (time >= above.df[above.time_col].to_numpy()[rows]).all()
    for name, table in db.table_dict.items():
        frame = table.df
        assert frame['id'].tolist() == list(range(len(frame)))
        assert len(frame.columns) == len(set(frame.columns))
        features = set(frame.columns) - {'id', table.time_col}
        assert 3 <= len(features - set(table.fkey_col_to_pkey_table)) <= 12
        if name not in referenced:
            assert table.time_col is not None
        if table.time_col is not None:
            assert frame[table.time_col].is_monotonic_increasing
    assert dataset.val_timestamp <= dataset.test_timestamp


@settings(max_examples=2, deadline=None)
@given(seeds)
def test_a_seed_gives_the_same_database_and_another_seed_another(seed):
    first, second = small(seed).db, small(seed).db
    assert list(first.table_dict) == list(second.table_dict)
    for name, table in first.table_dict.items():
        other = second.table_dict[name]
        pd.testing.assert_frame_equal(table.df, other.df)
        assert table.fkey_col_to_pkey_table == other.fkey_col_to_pkey_table
    third = small(seed + 1).db
    assert any(
        name not in third.table_dict or not table.df.equals(third.table_dict[name].df)
        for name, table in first.table_dict.items()
    )


def test_what_is_drawn_does_not_depend_on_the_global_state():
    np.random.seed(1)  # noqa: NPY002
    first = small(3).db
    np.random.seed(2)  # noqa: NPY002
    second = small(3).db
    for name, table in first.table_dict.items():
        pd.testing.assert_frame_equal(table.df, second.table_dict[name].df)


def test_children_are_heavy_tailed_and_some_parents_have_none():
    shares, childless = [], []
    for seed in range(8):
        db = SyntheticRelationalDatabase(seed, num_tables=4, num_rows=8000).db
        for name, _, parent, keys in links(db):
            counts = keys.dropna().astype(int).value_counts()
            size = len(db.table_dict[parent].df)
            if len(db.table_dict[name].df) < 5 * size or size < 50:
                continue
            top = max(1, size // 10)
            shares.append(counts.iloc[:top].sum() / counts.sum())
            childless.append(1 - len(counts) / size)
    assert len(shares) >= 8
    # A tenth of the parents has .1 of the children where all are alike.
    assert np.median(shares) > 0.3
    assert 0.1 < np.mean(childless) < 0.6
    assert max(childless) > 0.4


def test_keys_of_a_row_are_clustered():
    r"""Parents over two keys depend on each other: rows whose first parents are
    near, as communities go, share their second parents more often than chance.
    """
    excess = []
    for seed in range(8):
        db = SyntheticRelationalDatabase(
            seed, num_tables=5, num_rows=6000, graph='layered', max_null_share=0
        ).db
        for table in db.table_dict.values():
            fkeys = list(table.fkey_col_to_pkey_table)
            if len(fkeys) < 2 or len(table.df) < 800:
                continue
            first, second = (table.df[f].to_numpy(dtype=np.int64) for f in fkeys[:2])
            joint = pd.crosstab(first, second).to_numpy()
            expected = np.outer(joint.sum(1), joint.sum(0)) / joint.sum()
            # Pearson's statistic over its degrees of freedom is 1 by chance.
            degrees = (joint.shape[0] - 1) * (joint.shape[1] - 1)
            excess.append(((joint - expected) ** 2 / expected).sum() / max(1, degrees))
    assert len(excess) >= 4
    assert np.median(excess) > 1.5


def test_null_and_missing_shares_follow_the_arguments():
    gaps, nulls = [], []
    for seed in range(5):
        db = small(seed, max_null_share=0.6, max_missing=0.6).db
        nulls += [keys.isna().mean() for *_, keys in links(db)]
        for table in db.table_dict.values():
            gaps += table.df.isna().mean().tolist()
    assert max(nulls) > 0.3
    assert max(gaps) > 0.3
    db = small(0, max_null_share=0, max_missing=0).db
    assert all(keys.notna().all() for *_, keys in links(db))
    for table in db.table_dict.values():
        words = ('previous', 'days')  # What came before, if anything did.
        told = [c for c in table.df if not c.startswith(words)]
        assert table.df[told].notna().all(axis=None)


def explained(x, y):
    r"""Share of the variance of y that its mean by tenths of x explains, on rows
    that were not averaged.
    """
    half = len(x) // 2
    edges = np.quantile(x[:half], np.linspace(0, 1, 11)[1:-1])
    code = np.searchsorted(edges, x)
    total = np.bincount(code[:half], y[:half], minlength=10)
    count = np.bincount(code[:half], minlength=10)
    mean = (total + y[:half].mean()) / (count + 1)
    rest = y[half:] - mean[code[half:]]
    return 1 - (rest**2).mean() / y[half:].var()


def numbers(frame):
    kinds = frame.select_dtypes(['number', 'bool'])
    return {
        c: kinds[c].rank(pct=True).fillna(0.5).to_numpy()
        for c in kinds
        if not c.endswith(('id', 'Id'))
    }


def test_values_of_children_follow_from_those_of_their_parents():
    best, shuffled = [], []
    rng = np.random.default_rng(0)
    for seed in range(6):
        db = SyntheticRelationalDatabase(
            seed, num_tables=4, num_rows=5000, max_missing=0, max_null_share=0
        ).db
        for name, _, parent, keys in links(db):
            child = numbers(db.table_dict[name].df)
            above = numbers(db.table_dict[parent].df)
            if len(keys) < 1000 or not child or not above:
                continue
            order = rng.permutation(len(keys))
            row = keys.to_numpy(dtype=np.int64)[order]
            wrong = rng.permutation(len(next(iter(above.values()))))[row]
            pairs = [(x, y[order]) for x in above.values() for y in child.values()]
            best.append(max(explained(x[row], y) for x, y in pairs))
            shuffled.append(max(explained(x[wrong], y) for x, y in pairs))
    assert len(best) >= 8
    assert np.mean(best) > 0.15
    assert np.mean(best) > np.mean(shuffled) + 0.1


def test_values_of_an_entity_are_alike_over_time():
    r"""The value before of the same parent says something of the next."""
    gains = []
    for seed in range(6):
        db = SyntheticRelationalDatabase(seed, num_tables=4, num_rows=5000).db
        for name, _, _, keys in links(db):
            values = numbers(db.table_dict[name].df)
            if len(keys) < 1000 or keys.nunique() < 20:
                continue
            frame = pd.DataFrame(values).assign(key=keys.to_numpy(na_value=-1))
            frame = frame[frame['key'] >= 0]
            before = frame.groupby('key').shift(1)
            known = before.notna().all(axis=1)
            gains.append(frame[list(values)][known].corrwith(before[known]).max())
    assert len(gains) >= 6
    assert np.mean(gains) > 0.3


def test_activity_follows_trend_season_and_events():
    uneven = []
    for seed in range(10):
        db = SyntheticRelationalDatabase(seed, num_tables=3, num_rows=3000).db
        name = list(db.table_dict)[-1]
        table = db.table_dict[name]
        seconds = table.df[table.time_col].astype('int64')
        counts, _ = np.histogram(seconds, bins=40)
        # The variance of counts over their mean is 1 where time plays no role.
        uneven.append(counts.var() / counts.mean())
    assert np.median(uneven) > 3


def test_the_store_is_that_of_the_graph_and_remembers_strings():
    class Counting(HashingTextEncoder):
        encoded = 0

        def encode(self, strings):
            self.encoded += len(strings)
            return super().encode(strings)

    encoder = Counting(channels=32)
    dataset = small(5)
    store = dataset.to_store(encoder)
    data, col_stats = to_hetero(dataset.db, cutoff=dataset.val_timestamp)
    expected = CellStore.from_hetero(
        data,
        col_stats,
        text_encoder=HashingTextEncoder(channels=32),
        cutoff=dataset.val_timestamp,
        cache_dir=False,
    )
    for name, array in store.arrays._asdict().items():
        np.testing.assert_array_equal(array, getattr(expected.arrays, name), name)
    assert (store.text_embedding == expected.text_embedding).all()
    assert (store.column_embedding == expected.column_embedding).all()
    assert store.text_encoder.identity() == expected.text_encoder.identity()
    first = encoder.encoded
    dataset.to_store(encoder)
    assert encoder.encoded == first
    assert remembering_encoder(encoder) is store.text_encoder


def test_names_say_what_mechanisms_do():
    words, histories = set(), 0
    for seed in range(5):
        db = small(seed).db
        for name, table in db.table_dict.items():
            words.add(name)
            for column in table.df:
                if 'ofEarlier' in column or 'of_earlier' in column:
                    histories += 1
                    main = next(iter(table.fkey_col_to_pkey_table))
                    known = table.df[main].notna()
                    count = table.df[known].groupby(main).cumcount()
                    assert (table.df[column][known] == count).all()
    assert histories
    assert len(words) > 20


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_tables': 2}, r'num_tables must be .* \[3, 40\] \(got 2\)'),
        ({'num_rows': (900, 600)}, r'num_rows must be .* \(got \(900, 600\)\)'),
        ({'num_columns': (0, 3)}, r'num_columns must be .* \(got \(0, 3\)\)'),
        ({'graph': 'ring'}, r"graph must be one of .* \(got 'ring'\)"),
        ({'max_missing': 1.0}, r'max_missing must be in \[0, 1\) \(got 1.0\)'),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticRelationalDatabase(**arguments)


def test_missing_relbench_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'relbench.base', None)
    with pytest.raises(ImportError, match='pip install "torch-geometric-rfm'):
        _ = small(0).db
