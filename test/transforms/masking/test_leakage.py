r"""In no strategy does a hidden label return, nor what the task hides."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import (
    CellStore,
    CellType,
    ColumnSample,
    HashingTextEncoder,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import find_violations, random_database, random_task
from torch_geometric_rfm.transforms import MaskCells

ENCODER = HashingTextEncoder(channels=4)
FEW = settings(derandomize=True, deadline=None, max_examples=40, database=None)
NAMES = ['target', 'uniform', 'column', 'row', 'neighborhood', 'foreign_key']

transforms = st.builds(
    MaskCells,
    st.sampled_from(NAMES) | st.just(dict.fromkeys(NAMES, 1)),
    rate=st.sampled_from([0.05, 0.5, 0.95, (0.1, 0.9)]),
    seed=st.integers(0, 100),
    corruption=st.sampled_from(
        [(1.0, 0.0, 0.0), (0.8, 0.1, 0.1), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    ),
)
seeds = st.integers(0, 10_000)
kinds = st.sampled_from(['forecast', 'autocomplete'])


def build(db, task):
    cutoff = task.cutoffs['val']
    data, col_stats = to_hetero(db, cutoff=cutoff)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cutoff=cutoff, cache_dir=False
    )
    return store.with_task(task)


def sample(store, rows, transform=None):
    loader = ContextLoader(
        store,
        num_cells=40,
        input_nodes=rows,
        batch_size=len(rows),
        own_labels=0.3,
        random_labels=0.2,
        transform=transform,
    )
    loader.set_epoch(2)
    return next(iter(loader))


def contents(cells):
    r"""Tensors of a batch, with the strings in place of their numbers."""
    out = {
        key: value.nan_to_num(1e9)
        for key, value in cells.to_dict().items()
        if torch.is_tensor(value) and not key.endswith('embedding')
    }
    # Of a column that no cell is of, nothing is seen.
    out['column_quantiles'] = cells.column_quantiles[cells.column]
    string = (cells.cell_type >= 3).unsqueeze(1)
    shown = string & ~cells.mask.unsqueeze(1)
    out['text_index'] = cells.text_embedding[cells.text_index] * shown
    if 'target_text_index' in out:
        known = string & ~cells.target.isnan().unsqueeze(1)
        out['target_text_index'] = cells.text_embedding[cells.target_text_index] * known
    return out


def assert_same(first, second, but=()):
    first, second = contents(first), contents(second)
    assert set(first) == set(second)
    for key, value in first.items():
        if key not in but:
            assert torch.equal(value, second[key]), key


@FEW
@given(seeds, kinds, st.booleans(), transforms, st.integers(0, 59))
def test_the_label_has_no_influence(seed, kind, binary, transform, row):
    r"""The context of a row is the same, bit by bit, with another label of that row,
    and with other values in the columns that the task hides.
    """
    db = random_database(seed)
    task = random_task(db, seed, kind, binary)
    frame = task.frame
    # The labels of the others stay, and train labels are statistics.
    rows = np.flatnonzero((frame['split'] != 'train').to_numpy())
    if rows.size == 0:
        return
    rows = rows[[row % rows.size]]
    changed_db, changed = copy.deepcopy(db), copy.deepcopy(task)
    changed.frame.loc[rows, 'label'] = 1 - frame.loc[rows, 'label'].fillna(0.0)
    rng = np.random.default_rng(seed)
    for table, column in task.hidden_columns:
        values = changed_db.table_dict[table].df[column]
        # All datetimes share their statistics, so these stay.
        if not pd.api.types.is_datetime64_any_dtype(values):
            changed_db.table_dict[table].df[column] = rng.permutation(values.to_numpy())
    first = sample(build(db, task), rows, transform)
    second = sample(build(changed_db, changed), rows, transform)
    seed_cell = first.ptr[:-1]
    assert first.mask[seed_cell].all()
    assert not first.value[seed_cell].any()
    assert_same(first, second, but=('target',))
    rest = torch.ones_like(first.mask)
    rest[seed_cell] = False
    known = first.target[rest].nan_to_num(1e9)
    assert torch.equal(known, second.target[rest].nan_to_num(1e9))


@FEW
@given(seeds, kinds, st.booleans(), transforms, transforms)
def test_masking_only_adds(seed, kind, binary, first, second):
    db = random_database(seed)
    task = random_task(db, seed, kind, binary)
    store = build(db, task)
    rows = np.arange(len(task.frame))
    before = sample(store, rows)
    last = before
    for transform in (first, lambda cells: second(first(cells))):
        after = sample(store, rows, transform)
        assert after.mask[last.mask].all()
        assert after.predict_mask[last.predict_mask].all()
        labels = before.ptr[:-1]
        assert after.mask[labels].all()
        assert not after.value[labels].any()
        assert torch.equal(
            after.target[labels].nan_to_num(1e9), before.target[labels].nan_to_num(1e9)
        )
        # What was asked for stays asked for, with the same answer.
        known = last.predict_mask
        assert torch.equal(
            after.target[known].nan_to_num(1e9), last.target[known].nan_to_num(1e9)
        )
        rest = ~after.predict_mask
        for key in ('value', 'relative_time'):
            assert torch.equal(after[key][rest], before[key][rest])
        strings = (before.cell_type >= 3) & rest
        shown = after.text_embedding[after.text_index[strings]]
        assert torch.equal(shown, before.text_embedding[before.text_index[strings]])
        last = after
    violations = find_violations(last, db, task, cutoff=task.cutoffs['val'])
    assert [v for v in violations if not v.startswith('missing link')] == []
    moved = last.get('fkey_target_index', torch.zeros(2, 0))
    missing = len(violations)
    assert missing <= moved.size(1)
    assert last.fkey_index.size(1) + moved.size(1) == before.fkey_index.size(1)


@FEW
@given(seeds, transforms)
def test_targets_are_the_truth(seed, transform):
    db = random_database(seed)
    task = random_task(db, seed)
    store = build(db, task)
    rows = np.arange(len(task.frame))
    before, after = sample(store, rows), sample(store, rows, transform)
    asked = after.predict_mask & ~before.mask
    kind = before.cell_type
    truth = torch.where(kind == 1, (before.value > 0).float(), before.value)
    strings = asked & (kind >= 3)
    unknown = asked & after.target.isnan()
    for i in unknown.nonzero().view(-1).tolist():
        # Only categories that are not among the candidates of their column.
        assert kind[i] == CellType.CATEGORY
        own = after.candidate_embedding[after.candidate_column == before.column[i]]
        string = before.text_embedding[before.text_index[i]]
        assert len(own) < 2 or not (own == string).all(dim=1).any()
    asked &= ~unknown
    assert torch.equal(after.target[asked], truth[asked])
    if strings.any():
        given = after.text_embedding[after.target_text_index[strings]]
        expected = before.text_embedding[before.text_index[strings]]
        assert torch.equal(given, expected)
    if 'shown_mask' not in after:
        assert not after.value[asked].any()
    else:
        unchanged = transform.corruption[2] == 1.0
        if unchanged:
            assert torch.equal(after.value, before.value)


@pytest.mark.parametrize('strategy', NAMES[1:5])
def test_random_values_are_of_the_column_and_never_of_a_label(strategy):
    db = random_database(3)
    task = random_task(db, 3)
    store = build(db, task)
    rows = np.arange(len(task.frame))
    transform = MaskCells(strategy, 0.5, corruption=(0.0, 1.0, 0.0))
    before, after = sample(store, rows), sample(store, rows, transform)
    random = after.shown_mask.nonzero().view(-1)
    assert random.numel() > 50
    label = len(store.column_names) - 2
    visible = ~after.predict_mask
    columns = ColumnSample(store)
    for i in random.tolist():
        column = int(before.column[i])
        same = visible & (before.column == column)
        same &= before.batch == before.batch[i]
        values = before.value[same]
        if column < label:
            drawn = columns.draw(torch.full((1000,), column), torch.arange(1000) / 1000)
            if drawn.known.any():
                values = drawn.value
            if before.cell_type[i] >= 3:
                strings = store.store.text_embedding[drawn.string]
                shown = after.text_embedding[after.text_index[i]]
                assert (strings == shown).all(1).any() or not drawn.known.any()
                continue
        assert (values == after.value[i]).any()
