import numpy as np
import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import CellStore, HashingTextEncoder, to_hetero
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import (
    RawDatabase,
    find_violations,
    random_database,
    random_task,
    toy_database,
    toy_task,
)
from torch_geometric_rfm.testing.database import VAL_TIMESTAMP

ENCODER = HashingTextEncoder(channels=4)
FEW = settings(derandomize=True, deadline=None, max_examples=60, database=None)

samplers = st.fixed_dictionaries(
    {
        'num_cells': st.sampled_from([2, 3, 10, 60]),
        'num_neighbors': st.sampled_from([0, 1, 3, -1]),
        'temporal_strategy': st.sampled_from(['last', 'uniform']),
        'own_labels': st.sampled_from([0.0, 0.2, 0.4]),
        'recent_labels': st.sampled_from([0.0, 0.2]),
        'random_labels': st.sampled_from([0.0, 0.1]),
        'history': st.sampled_from([0.0, 0.3]),
        'strict': st.booleans(),
    }
)
protocols = st.sampled_from(['rolling', 'frozen'])
kinds = st.sampled_from(['forecast', 'autocomplete'])
seeds = st.integers(0, 10_000)


def build(db, cutoff, col_to_stype=None):
    data, col_stats = to_hetero(db, col_to_stype, cutoff=cutoff)
    return CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cutoff=cutoff, cache_dir=False
    )


def sample_all(store, protocol, keep=None, **kwargs):
    rows = np.arange(len(store.task.frame))
    until = store.visible_until(rows, protocol)
    if keep is not None:
        rows = rows[until <= keep]
    sampler = ContextLoader(store, input_nodes=rows, **kwargs).context_sampler
    until = store.visible_until(rows, protocol)
    return sampler.sample(rows, store.arrays.time[rows], until, rows, epoch=1)


@FEW
@given(seeds, kinds, st.booleans(), st.booleans(), protocols, samplers)
def test_no_violation_on_random_databases(seed, kind, binary, dated, protocol, kwargs):
    db = random_database(seed, dated=dated or seed % 4 > 0)
    task = random_task(db, seed, kind, binary)
    cutoff = task.cutoffs['val']
    store = build(db, cutoff).with_task(task)
    cells = sample_all(store, protocol, **kwargs)
    violations = find_violations(
        cells,
        db,
        task,
        protocol,
        strict=kwargs['strict'],
        num_cells=kwargs['num_cells'],
        cutoff=cutoff,
        text_encoder=ENCODER,
    )
    assert violations == []


@settings(FEW, max_examples=25)
@given(seeds, samplers)
def test_no_violation_without_a_task(seed, kwargs):
    db = random_database(seed)
    store = build(db, None)
    kwargs = {**kwargs, 'num_cells': 40}
    raw, time = RawDatabase(db), pd.Timestamp('1970-01-05')
    for table in store.table_names:
        rows = np.arange(len(db.table_dict[table].df))
        time_col = db.table_dict[table].time_col
        if time_col is not None:
            rows = rows[(db.table_dict[table].df[time_col] < time).to_numpy()]
        if rows.size == 0:
            continue
        loader = ContextLoader(
            store,
            input_nodes=(table, rows),
            input_time=int(time.timestamp()),
            batch_size=len(rows),
            **kwargs,
        )
        cells = next(iter(loader))
        assert not cells.mask.any()
        assert cells.row_index[cells.seed_row].tolist() == rows.tolist()
        assert (cells.row_table[cells.seed_row] == store.table_names.index(table)).all()
        violations = find_violations(
            cells, raw, strict=kwargs['strict'], num_cells=40, text_encoder=ENCODER
        )
        assert violations == []


def contexts(cells, old_index=None):
    r"""What a batch says, context by context, without numbers that only name things."""
    names = row_names(cells, old_index)
    value = cells.value.double().round(decimals=5).tolist()
    relative_time = cells.relative_time.double().round(decimals=5).tolist()
    is_string = (cells.cell_type >= 3).tolist()
    string = cells.text_embedding[cells.text_index].tolist()
    mask = cells.mask.tolist()
    content = [
        (
            names[row],
            cells.column_names[column],
            value[i],
            relative_time[i],
            mask[i],
            string[i] if is_string[i] else None,
        )
        for i, (row, column) in enumerate(
            zip(cells.row.tolist(), cells.column.tolist())
        )
    ]
    child, parent = cells.fkey_index.tolist()
    links = [
        (c, (names[c], names[p], cells.fkey_names[k]))
        for c, p, k in zip(child, parent, cells.fkey_type.tolist())
    ]
    out = []
    ptr, row_ptr = cells.ptr.tolist(), [*cells.seed_row.tolist(), cells.num_rows]
    for b in range(cells.num_contexts):
        first, last = row_ptr[b : b + 2]
        linked = [link for c, link in links if first <= c < last]
        out.append((names[first:last], content[ptr[b] : ptr[b + 1]], linked))
    return out


def row_names(cells, old_index):
    names = []
    for table, index, time in zip(
        cells.row_table.tolist(), cells.row_index.tolist(), cells.row_time.tolist()
    ):
        name = cells.table_names[table]
        if old_index is not None and name in old_index:
            index = int(old_index[name][index])
        names.append((name, index, time))
    return names


def cell_types(db):
    data, _ = to_hetero(db)
    return {
        name: {
            column: data[name].cell_types.get(column) for column in feature_columns(t)
        }
        for name, t in db.table_dict.items()
    }


def feature_columns(table):
    keys = {table.pkey_col, *table.fkey_col_to_pkey_table}
    return [column for column in table.df.columns if column not in keys]


def perturbed(db, time, rng):
    r"""The database with every row after some time, or without one, made up anew."""
    from relbench.base import Database, Table

    tables = {}
    for name, table in db.table_dict.items():
        frame = table.df.copy()
        if table.time_col is not None:
            late = ~(frame[table.time_col] <= time).to_numpy()
            rows = np.flatnonzero(late)
            for column in frame.columns:
                if column in (table.pkey_col, table.time_col):
                    continue
                donor = rng.integers(0, len(frame), len(rows))
                values = frame[column].to_numpy(copy=True)
                values[rows] = values[donor]
                if values.dtype.kind == 'f' and len(rows):
                    values[rows] = rng.normal(1e5, 1e4, len(rows))
                frame[column] = values
        tables[name] = Table(
            frame, table.fkey_col_to_pkey_table, table.pkey_col, table.time_col
        )
    return Database(tables)


def without_future(db, time, kept_table):
    r"""The database cut at a time, and where each row stood before."""
    from relbench.base import Database, Table

    tables, old_index = {}, {}
    for name, table in db.table_dict.items():
        rows = np.arange(len(table.df))
        if table.time_col is not None and name != kept_table:
            present = (table.df[table.time_col] <= time).to_numpy()
            # A table needs a row: its last one, which nobody may see.
            rows = np.flatnonzero(present) if present.any() else rows[-1:]
        tables[name] = Table(
            table.df.iloc[rows],
            table.fkey_col_to_pkey_table,
            table.pkey_col,
            table.time_col,
        )
        old_index[name] = rows
    return Database(tables), old_index


def with_changed_labels(task, time, rng):
    r"""The task with every label that is not over at some time drawn anew."""
    frame = task.frame.copy()
    late = (frame['time'] + task.horizon > time) & (frame['split'] != 'train')
    frame.loc[late, 'label'] = rng.integers(0, 2, int(late.sum()))
    return type(task)(**{**task.__dict__, 'frame': frame})


@FEW
@given(seeds, kinds, st.booleans(), protocols, samplers)
def test_future_changes_nothing(seed, kind, binary, protocol, kwargs):
    rng = np.random.default_rng(seed)
    db = random_database(seed)
    task = random_task(db, seed, kind, binary)
    cutoff = task.cutoffs['val']
    keep = int(cutoff.timestamp())
    types = cell_types(db)  # The schema is no secret: it stays.
    before = build(db, cutoff, types).with_task(task)
    until = before.visible_until(np.arange(len(task.frame)), protocol)
    assume((until <= keep).any())
    expected = contexts(sample_all(before, protocol, keep, **kwargs))

    other = perturbed(db, cutoff, rng)
    changed = with_changed_labels(task, cutoff, rng)
    after = build(other, cutoff, types).with_task(changed)
    assert after.label_mean == before.label_mean
    assert after.label_std == before.label_std
    scale = before.store.arrays.datetime_scale
    assert np.array_equal(after.store.arrays.datetime_scale, scale)
    cells = sample_all(after, protocol, keep, **kwargs)
    assert contexts(cells) == expected

    cut, old_index = without_future(db, cutoff, task.entity_table)
    after = build(cut, cutoff, types).with_task(changed)
    cells = sample_all(after, protocol, keep, **kwargs)
    assert contexts(cells, old_index) == expected


def test_frozen_test_contexts_do_not_know_what_followed_the_cutoff():
    db, task = toy_database(), toy_task(kind='regression')
    rng = np.random.default_rng(0)
    types, cutoff = cell_types(db), task.cutoffs['test']
    other = perturbed(db, cutoff, rng)
    kwargs = {'num_cells': 60, 'recent_labels': 0.2, 'history': 0.3}
    before = build(db, VAL_TIMESTAMP, types).with_task(task)
    after = build(other, VAL_TIMESTAMP, types).with_task(
        with_changed_labels(task, cutoff, rng)
    )
    expected = contexts(sample_all(before, 'frozen', **kwargs))
    assert contexts(sample_all(after, 'frozen', **kwargs)) == expected
    # The same change does show where contexts follow the time of their seed.
    rolling = contexts(sample_all(before, 'rolling', **kwargs))
    assert contexts(sample_all(after, 'rolling', **kwargs)) != rolling
