import numpy as np
import pandas as pd
import pytest
import torch

from torch_geometric_rfm.data import Candidates, CellStore, CellType, Task, to_hetero
from torch_geometric_rfm.data.cell_data import concatenate
from torch_geometric_rfm.data.class_labels import encode_classes
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import (
    toy_database,
    toy_task,
    toy_task_store,
)
from torch_geometric_rfm.testing.database import VAL_TIMESTAMP
from torch_geometric_rfm.transforms import MaskCells


def store_of(db):
    data, col_stats = to_hetero(db, cutoff=VAL_TIMESTAMP)
    return CellStore.from_hetero(
        data, col_stats, text_encoder='hashing', cutoff=VAL_TIMESTAMP, cache_dir=False
    )


def database_with_a_late_status():
    db = toy_database()
    orders = db.table_dict['orders'].df
    late = (orders['date'] > VAL_TIMESTAMP).to_numpy()
    orders.loc[np.flatnonzero(late)[:10], 'status'] = 'lost'
    orders['shop'] = 'Aachen'  # One value alone.
    return db


def test_candidates_come_from_before_the_cutoff():
    store = store_of(database_with_a_late_status())
    candidates = Candidates(store)
    column = store.column_names.index('status of orders')
    found = store.embed_numbers(candidates.of_column(column))
    expected = store.embed(['paid', 'returned', 'open'])
    for vector in expected:
        assert ((found - vector).abs().amax(dim=1) == 0).sum() == 1
    assert len(found) == 3


@pytest.mark.parametrize('num_workers', [0, 1])
def test_loader_names_the_truth_of_hidden_categories(num_workers):
    db = database_with_a_late_status()
    base = store_of(db)
    store = base.with_task(toy_task(db))
    loader = ContextLoader(
        store,
        input_nodes='test',
        num_cells=64,
        batch_size=8,
        num_workers=num_workers,
        transform=MaskCells('uniform', rate=0.5),
    )
    status = base.embed(['paid', 'returned', 'open', 'lost'])
    seen, lost, lone = 0, 0, 0
    for cells in loader:
        chosen = cells.predict_mask & (cells.cell_type == CellType.CATEGORY)
        truth = cells.text_embedding[cells.target_text_index]
        known = chosen & ~cells.target.isnan()
        given = cells.candidate_embedding[cells.target_candidate[known]]
        assert torch.equal(given, truth[known])
        own = cells.candidate_column[cells.target_candidate[known]]
        assert torch.equal(own, cells.column[known])
        # A truth that is no candidate, and the only value of a column, do not count.
        for i in (chosen & ~known).nonzero().view(-1).tolist():
            if cells.phrases[int(cells.column[i])] == 'shop of orders':
                lone += 1
            else:
                assert torch.equal(truth[i], status[3])
                lost += 1
        seen += int(known.sum())
    assert seen > 50 and lost > 0 and lone > 0


def test_labels_of_categories():
    store = toy_task_store('multiclass')
    label = store.task.frame['label'].to_numpy()
    loader = ContextLoader(store, input_nodes='test', num_cells=48, batch_size=16)
    names = store.store.embed(['none', 'small', 'large'])
    past = 0
    for cells in loader:
        seeds = cells.ptr[:-1]
        assert bool(cells.mask[seeds].all()) and not cells.text_index[seeds].any()
        rows = cells.row_index[cells.seed_row]
        truth = torch.from_numpy(label[rows]).long()
        assert torch.equal(cells.target_candidate[seeds], truth)
        assert torch.equal(cells.candidate_embedding, names)
        assert (cells.target[seeds] == 0).all()
        # Labels of the past show their class.
        column = cells.column[seeds[0]]
        shown = ((cells.column == column) & ~cells.mask).nonzero().view(-1)
        rows = cells.row_index[cells.row[shown]]
        expected = names[torch.from_numpy(label[rows]).long()]
        assert torch.equal(cells.text_embedding[cells.text_index[shown]], expected)
        past += shown.numel()
    assert past > 50


def test_labels_of_other_classes_are_seen_but_not_asked():
    task = toy_task(kind='multiclass')
    task.classes, task.other_classes = ['none', 'small'], ['large']
    store = toy_task_store().store.with_task(task)
    large = task.frame['label'].to_numpy() == 2
    assert torch.equal(store.target.isnan(), torch.from_numpy(large))
    assert store.class_embedding.size(0) == 3
    rows = np.flatnonzero(large)[:4]
    cells = next(iter(ContextLoader(store, input_nodes=rows, num_cells=32)))
    assert cells.candidate_embedding.size(0) == 2
    assert cells.target[cells.ptr[:-1]].isnan().all()


def test_joint_batches_keep_candidates_apart():
    batches = [
        next(iter(ContextLoader(toy_task_store(kind), num_cells=32, batch_size=4)))
        for kind in ('multiclass', 'binary', 'multiclass')
    ]
    truth = [
        b.candidate_embedding[b.target_candidate[b.ptr[:-1]]] for b in batches[::2]
    ]
    joint = concatenate(batches)
    seeds = joint.ptr[:-1][(joint.cell_type == CellType.CATEGORY)[joint.ptr[:-1]]]
    given = joint.candidate_embedding[joint.target_candidate[seeds]]
    assert torch.equal(given, torch.cat(truth))
    own = joint.candidate_column[joint.target_candidate[seeds]]
    assert torch.equal(own, joint.column[seeds])


def test_large_columns_keep_the_truth():
    store = toy_task_store()
    candidates = Candidates(store, max_candidates=2)
    loader = ContextLoader(
        store, num_cells=64, transform=MaskCells('uniform', rate=0.5)
    )
    loader.candidates = candidates
    cells = next(iter(loader))
    chosen = cells.predict_mask & (cells.cell_type == CellType.CATEGORY)
    assert not cells.target[chosen].isnan().any()
    with pytest.raises(ValueError, match=r"'max_candidates' must .* \(got 1\)"):
        Candidates(store, max_candidates=1)


def test_encode_classes():
    code, known, others = encode_classes([3.0, 1, None, 2.5], [True, True, True, False])
    assert known == ['1', '3'] and others == ['2.5']
    np.testing.assert_array_equal(code, [1, 0, np.nan, 2])
    code, known, others = encode_classes(['b', 'a'], [True, True], ['a', 'c', 'b'])
    assert code.tolist() == [2, 0] and known == ['a', 'c', 'b'] and others == []
    with pytest.raises(ValueError, match=r"'classes' must differ \(got 'a' twice\)"):
        encode_classes(['a', 'b'], [True, True], ['a', 'a'])
    with pytest.raises(ValueError, match=r'at least two classes .*\(got .*a'):
        encode_classes(['a', 'b'], [True, False])


def test_bad_classes():
    task = toy_task(kind='multiclass')
    task.validate()
    for changes, message in (
        ({'classes': ['none']}, 'at least two'),
        ({'classes': ['none', 'none', 'large']}, 'each once'),
        ({'classes': ['none', 'small']}, r'none of its 2 classes \(got 2\)'),
    ):
        with pytest.raises(ValueError, match=message):
            Task(**{**task.__dict__, **changes}).validate()


def test_scores_of_classes():
    task = toy_task(kind='multiclass')
    label = task.frame['label'][task.frame['split'] == 'test'].to_numpy()
    best = task.evaluate(np.eye(3)[label.astype(int)], 'test')
    assert best == {'accuracy': 1.0, 'log_loss': 0.0, 'macro_f1': 1.0}
    sklearn = pytest.importorskip('sklearn.metrics')
    guess = np.random.default_rng(0).dirichlet(np.ones(3), len(label))
    figures = task.evaluate(guess, 'test')
    chosen = guess.argmax(axis=1)
    assert figures['accuracy'] == pytest.approx(sklearn.accuracy_score(label, chosen))
    assert figures['log_loss'] == pytest.approx(sklearn.log_loss(label, guess))
    f1 = sklearn.f1_score(label, chosen, average='macro')
    assert figures['macro_f1'] == pytest.approx(f1)
    with pytest.raises(ValueError, match=r'one row for each of the 90 labels'):
        task.evaluate(guess[:5], 'test')
    assert isinstance(task.frame, pd.DataFrame)
