r"""The audit bites: each rule, broken on purpose, is reported, and no other."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from torch_geometric_rfm.audit import ContextAuditor, label_summaries
from torch_geometric_rfm.data import (
    CellStore,
    CellType,
    HashingTextEncoder,
    cell_store,
    to_hetero,
)
from torch_geometric_rfm.data.store_arrays import ALWAYS, NEVER, row_times
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.sampler import LabelSmoothing, label_smoothing
from torch_geometric_rfm.testing import (
    random_cells,
    random_database,
    random_task,
    toy_database,
    toy_task,
    toy_task_store,
)
from torch_geometric_rfm.testing.database import VAL_TIMESTAMP
from torch_geometric_rfm.transforms import MaskCells

ENCODER = HashingTextEncoder(channels=16)
DAY = 86_400


def build(db, task, cutoff=VAL_TIMESTAMP):
    data, col_stats = to_hetero(db, cutoff=cutoff)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=ENCODER, cutoff=cutoff, cache_dir=False
    )
    return store.with_task(task)


def audit(
    db, task, store, protocol='rolling', drawn=None, change=None, strict=False, **kwargs
):
    auditor = ContextAuditor(
        db,
        task,
        protocol,
        strict=strict,
        text_encoder=ENCODER,
        cutoff=task.cutoffs.get('train', VAL_TIMESTAMP),
    )
    options = {'num_cells': 60, 'num_neighbors': 8, 'recent_labels': 0.2, **kwargs}
    loader = ContextLoader(
        store,
        input_nodes=torch.arange(len(task.frame)),
        protocol=drawn or protocol,
        strict=strict,
        batch_size=128,
        **options,
    )
    for cells in loader:
        auditor.add(cells if change is None else change(cells))
    return auditor.report()


@pytest.fixture
def toy():
    db = toy_database()
    task = toy_task(db, 'regression')
    task.hidden_columns = [('orders', 'status')]
    return db, task, build(db, task)


def set_arrays(store, **changes):
    store.store.arrays = store.store.arrays._replace(**changes)


def forget_times(store, table):
    # Rows of the table are let in at any time; what puts their times back.
    arrays, number = store.store.arrays, store.table_names.index(table)
    time = arrays.row_time.copy()
    time[arrays.table_start[number] : arrays.table_start[number + 1]] = ALWAYS
    set_arrays(store, row_time=time)

    def restore(cells):
        rows = (cells.row_table == number).numpy()
        start = arrays.table_start[number]
        true = arrays.row_time[start + cells.row_index.numpy()[rows]]
        cells.row_time[torch.from_numpy(rows)] = torch.from_numpy(true)
        return cells

    return restore


def later_customers():
    # Orders lead to second customers who joined after them.
    db = toy_database()
    customers, orders = db.table_dict['customers'].df, db.table_dict['orders']
    orders.df['second_id'] = np.roll(orders.df['customer_id'].to_numpy(), 50)
    orders.fkey_col_to_pkey_table['second_id'] = 'customers'
    customers.loc[20:, 'joined'] = pd.Timestamp('2021-12-01')
    task = toy_task(db)
    return db, task, build(db, task)


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
@pytest.mark.parametrize('strict', [False, True])
def test_nothing_is_found_where_nothing_is_wrong(toy, protocol, strict):
    report = audit(*toy, protocol, strict=strict)
    assert report.findings == 0
    assert report.broken == []
    assert report.contexts == len(toy[1].frame)
    assert all(rule.checked > 0 for rule in report.rules)
    assert report.future_by_table == {}


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
@pytest.mark.parametrize('strict', [False, True])
def test_summaries_are_computed_again(toy, protocol, strict):
    db, task, store = toy
    report = audit(*toy, protocol, strict=strict, history=0.3)
    assert report.findings == 0

    def later(cells):
        name = 'number of orders by customer_id'
        column = cells.column_names.index(name)
        assert (cells.column == column).any()
        cells.value[cells.column == column] += 0.5
        return cells

    report = audit(*toy, protocol, strict=strict, history=0.3, change=later)
    assert report.broken == ['statistics']
    restore = forget_times(store, 'orders')
    report = audit(*toy, protocol, strict=strict, history=0.3, change=restore)
    assert report.broken[0] == 'future_rows'
    assert {'statistics', 'values'} & set(report.broken)


@pytest.mark.parametrize(
    'name',
    [
        'mean amount of customer-amount',
        'mean amount of customer-amount, smoothed',
        'mean amount of customer-amount of all lately',
        'number of known customer-amount',
    ],
)
def test_wrong_summaries_of_labels_are_found(toy, name):
    def some(cells):
        at = (cells.column == cells.column_names.index(name)).nonzero().view(-1)
        cells.value[at[::7]] += 0.5
        return cells

    assert audit(*toy, history=0.3, change=some).broken == ['values']


def test_summaries_of_labels_before_their_horizon(toy):
    db, task, _ = toy
    task.horizon = pd.Timedelta('45 days')
    store = build(db, task)
    # No label shows but in summaries.
    options = {'history': 0.3, 'own_labels': 0.0, 'recent_labels': 0.0}
    assert audit(db, task, store, **options).broken == []
    store.arrays = store.arrays._replace(horizon=20 * 86_400)
    broken = audit(db, task, store, **options).broken
    assert broken
    assert set(broken) <= {'statistics', 'values'}


def test_a_choice_by_other_train_rows_is_found(toy, monkeypatch):
    r"""Of more train rows than choose a smoothing, the same ones are drawn."""
    db, task, store = toy
    options = {'history': 0.3, 'own_labels': 0.0, 'recent_labels': 0.0}
    every = LabelSmoothing(store)
    for size in range(4, 80, 4):
        monkeypatch.setattr(label_smoothing, '_MAX_ROWS', size)
        monkeypatch.setattr(label_summaries, '_MAX_ROWS', size)
        if repr(LabelSmoothing(store)) != repr(every):
            break
    else:
        pytest.fail('any of these rows choose as all do')
    assert audit(*toy, **options).findings == 0
    monkeypatch.setattr(label_summaries, '_MAX_ROWS', 4096)
    assert audit(*toy, **options).broken == ['values']


def test_smoothing_without_evidence(toy):
    db, task, _ = toy
    # Of train rows none knows a label, of later ones most do.
    task.horizon = pd.Timedelta('400 days')
    store = build(db, task)
    smoothing = LabelSmoothing(store)
    assert (smoothing.half_life, smoothing.prior) == (4.0, 1.0)
    rows = store.rows_of_split('test')
    known = smoothing.values(store.arrays.entity[rows], store.arrays.time[rows])
    assert np.isfinite(known).mean() > 0.5
    options = {'history': 0.3, 'own_labels': 0.0, 'recent_labels': 0.0}
    assert audit(db, task, store, **options).findings == 0


def test_masked_cells_are_fine(toy):
    assert audit(*toy, change=MaskCells('uniform', rate=0.5)).broken == []


def test_children_from_the_future(toy):
    db, task, store = toy
    restore = forget_times(store, 'orders')
    report = audit(db, task, store, change=restore)
    assert report.broken == ['future_rows']
    assert list(report.future_by_table) == ['orders']
    counts = report.future_by_table['orders']
    assert counts['parents'] == 0
    assert counts['others'] == report.findings > 100
    assert counts['cells'] > counts['others']
    assert 0 < counts['contexts'] <= report.contexts
    example = report.rules[0].example
    assert example.table == 'orders'
    late = pd.Timestamp(example.detail.split(' ', 1)[1].split(',')[0])
    assert late == db.table_dict['orders'].df['date'].iloc[example.row]
    # With the times that the sampler believed, these are wrong too.
    assert audit(db, task, store).broken == ['future_rows', 'rows']


def test_parents_from_the_future():
    db, task, store = later_customers()
    options = {'num_neighbors': {'customers.shop_id': 0}}
    assert audit(db, task, store, **options).broken == []
    restore = forget_times(store, 'customers')
    report = audit(db, task, store, change=restore, **options)
    assert report.broken == ['future_rows']
    counts = report.future_by_table['customers']
    assert counts['others'] == 0
    assert counts['parents'] == report.findings > 10


def test_rows_of_just_the_time_are_from_the_future_if_strict():
    db = toy_database()
    db.table_dict['customers'].df['joined'] = toy_task(db).frame['time'].min()
    task = toy_task(db)
    store = build(db, task)
    assert audit(db, task, store).broken == []
    assert audit(db, task, store, strict=True).broken == []
    cells = next(iter(ContextLoader(store, batch_size=64)))
    auditor = ContextAuditor(db, task, strict=True)
    auditor.add(cells)
    assert auditor.report().broken == ['future_rows']


def test_rows_without_a_time(monkeypatch):
    db = toy_database()
    db.table_dict['orders'].df.loc[50:150, 'date'] = pd.NaT
    task = toy_task(db)
    assert audit(db, task, build(db, task)).broken == []

    def undated(tables):
        time = row_times(tables)
        return np.where(time == NEVER, ALWAYS, time)

    monkeypatch.setattr(cell_store, 'row_times', undated)
    assert audit(db, task, build(db, task)).broken == ['undated_rows']


@pytest.mark.parametrize('protocol', ['rolling', 'frozen'])
def test_labels_before_their_horizon(toy, protocol):
    db, task, _ = toy
    task.horizon = pd.Timedelta('45 days')  # Questions are 30 days apart.
    store = build(db, task)
    assert audit(db, task, store, protocol).broken == []
    store.arrays = store.arrays._replace(horizon=0)
    report = audit(db, task, store, protocol)
    assert report.broken == ['unknown_labels']
    assert report.rules[2].example.table == task.name


def test_classes_of_labels():
    db, task = toy_database(), toy_task(kind='multiclass')
    store = build(db, task)
    assert audit(db, task, store).broken == []
    classes = [*task.classes[1:], task.classes[0]]
    task.classes = classes
    report = audit(db, task, store)
    assert report.broken == ['values']
    assert 'is another string' in str(report.rules[-1].example)


@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_the_label_of_the_seed(kind):
    db, task = toy_database(), toy_task(kind=kind)
    store = build(db, task)

    def unmask(cells):
        cells.mask[cells.ptr[:-1]] = False
        return cells

    def tell(cells):
        cells.value[cells.ptr[:-1]] = 0.5
        return cells

    for change in (unmask, tell):
        report = audit(db, task, store, change=change)
        assert report.broken == ['seed_label']
        assert report.findings == report.contexts


def test_the_seed_as_a_row_of_its_own_context(toy):
    db, task, store = toy
    # Every label claims to be of long ago, that of the seed too.
    seed_time = store.arrays.time.copy()
    time = np.full_like(seed_time, ALWAYS + 10)
    store.arrays = store.arrays._replace(time=time)
    rows = np.arange(len(time))
    sampler = ContextLoader(store, own_labels=0.5).context_sampler
    cells = sampler.sample(rows, seed_time, seed_time, rows)
    auditor = ContextAuditor(db, task, cutoff=VAL_TIMESTAMP)
    auditor.add(cells)
    report = {rule.name: rule for rule in auditor.report().rules}
    assert report['seed_label'].findings > 10
    assert 'once more' in str(report['seed_label'].example)
    assert report['unknown_labels'].findings > 10
    assert report['future_rows'].clean


def test_hidden_columns(toy):
    db, task, store = toy
    store.arrays = store.arrays._replace(hidden=np.zeros_like(store.arrays.hidden))
    report = audit(db, task, store)
    assert report.broken == ['hidden_columns']
    assert "'status of orders'" in str(report.rules[7].example)


@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_statistics_of_the_future(kind):
    db, task = toy_database(), toy_task(kind=kind)
    report = audit(db, task, build(db, task, cutoff=None))
    assert report.broken == ['statistics']
    assert 'as if all rows counted' in str(report.rules[8].example)
    # Labels of all splits instead of train, and any other scale:
    for factor, shift in ((1.01, 0.0), (1.0, 0.02)):
        store = build(db, task)
        value = store.arrays.value * np.float32(factor) + np.float32(shift)
        store.arrays = store.arrays._replace(value=value)
        report = audit(
            db, task, store, change=lambda cells: cells.update({'target': nan(cells)})
        )
        assert report.broken == ['statistics']
        assert f' of {task.name}' in str(report.rules[8].example)


def nan(cells):
    return torch.full_like(cells.target, float('nan'))


def test_statistics_of_one_column(toy):
    db, task, store = toy
    boolean = store.store.column_names.index('gift of orders')
    mean = store.store.arrays.column_mean.copy()
    mean[boolean] += 0.01
    set_arrays(store, column_mean=mean)
    report = audit(db, task, store)
    assert report.broken == ['statistics']
    assert "'gift of orders'" in str(report.rules[8].example)


def test_clocks(toy):
    db, task, store = toy

    def later(cells):
        cells.visible_until += DAY
        return cells

    def asked_later(cells):
        cells.seed_time += DAY
        return cells

    assert audit(db, task, store, change=later).broken == ['visible_until']
    broken = audit(db, task, store, change=asked_later).broken
    assert broken == ['visible_until', 'values']  # Distances are of another time.
    for protocol, drawn in (('frozen', 'rolling'), ('rolling', 'frozen')):
        assert audit(db, task, store, protocol, drawn).broken == ['visible_until']
    # A sampler with another clock keeps to the one that it shows.
    time = store.visible_until

    def other(rows, protocol):
        return time(rows, protocol) - 30 * DAY

    store.visible_until = other
    report = audit(db, task, store)
    assert 'visible_until' in report.broken
    assert 'future_rows' not in report.broken


def first_of(cells, kind):
    visible = (cells.cell_type == kind) & ~cells.mask
    return int(torch.nonzero(visible)[3])


def other_number(cells):
    cells.value[first_of(cells, CellType.NUMBER)] += 0.5
    return cells


def other_boolean(cells):
    at = first_of(cells, CellType.BOOLEAN)
    cells.value[at] = -cells.value[at]
    return cells


def other_date(cells):
    cells.value[first_of(cells, CellType.DATETIME)] += 0.1
    return cells


def other_distance(cells):
    cells.relative_time[first_of(cells, CellType.DATETIME)] += 0.1
    return cells


def other_text(cells):
    at = first_of(cells, CellType.TEXT)
    used = cells.text_index[cells.cell_type == CellType.TEXT].unique()
    cells.text_index[at] = used[used != cells.text_index[at]][0]
    return cells


def other_target(cells):
    cells.target[cells.ptr[0]] += 1
    return cells


def number_for_a_string(cells):
    cells.value[first_of(cells, CellType.CATEGORY)] = 1
    return cells


def shown_behind_the_mask(cells):
    at = first_of(cells, CellType.NUMBER)
    cells.mask[at] = True
    cells.value[at] = 1.0
    return cells


@pytest.mark.parametrize(
    'change',
    [
        other_number,
        other_boolean,
        other_date,
        other_distance,
        other_text,
        other_target,
        number_for_a_string,
        shown_behind_the_mask,
    ],
)
def test_other_values(toy, change):
    db, task, store = toy
    report = audit(db, task, store, change=change)
    assert report.broken == ['values']
    assert 1 <= report.findings <= 5  # One a batch.


def test_values_that_the_raw_rows_lack(toy):
    db, task, store = toy
    db.table_dict['orders'].df['note'] = None
    report = audit(db, task, store)
    assert report.broken == ['values']
    assert "'note of orders' is missing in the raw row" in str(report.rules[9].example)


def test_other_rows_and_links(toy):
    db, task, store = toy

    def time(cells):
        cells.row_time[5] += 1
        return cells

    def no_row(cells):
        cells.row_index[-1] = 10**6
        return cells

    def turned(cells):
        cells.fkey_index = cells.fkey_index.flip(0)
        return cells

    def cut(cells):
        cells.fkey_index, cells.fkey_type = cells.fkey_index[:, 1:], cells.fkey_type[1:]
        return cells

    assert audit(db, task, store, change=time).broken == ['rows']
    assert audit(db, task, store, change=turned).broken == ['links']
    report = audit(db, task, store, change=cut)
    assert (report.broken, report.findings) == (['links'], 5)
    broken = audit(db, task, store, change=no_row).broken
    assert broken == ['rows', 'links', 'values']


@pytest.mark.parametrize('seed', range(6))
def test_odd_databases(seed):
    # Null, equal and early times, null and dangling keys, infinite numbers.
    db = random_database(seed)
    task = random_task(db, seed, binary=seed % 2 == 0)
    store = build(db, task, task.cutoffs['train'])
    for protocol in ('rolling', 'frozen'):
        report = audit(db, task, store, protocol)
        assert {r.name: str(r.example) for r in report.rules if r.findings} == {}


def test_strings_need_an_encoder(toy):
    db, task, store = toy
    cells = other_text(next(iter(ContextLoader(store))))
    auditor = ContextAuditor(db, task)
    auditor.add(cells)
    report = auditor.report()
    assert report.broken == []
    assert report.strings == 'presence only'


def test_repr_and_dict(toy):
    db, task, _ = toy
    auditor = ContextAuditor(db, task, 'frozen')
    assert repr(auditor) == (
        "ContextAuditor('customer-amount', protocol=frozen, contexts=0)"
    )
    report = audit(*toy)
    assert repr(report) == (
        "AuditReport('customer-amount', protocol=rolling, contexts=516, findings=0)"
    )
    content = report.to_dict()
    assert content['findings'] == {rule.name: 0 for rule in report.rules}
    assert content['contexts'] == 516
    assert content['examples'] == {}


def test_bad_input(toy, monkeypatch):
    db, task, store = toy
    cells = next(iter(ContextLoader(store, num_cells=32)))
    with pytest.raises(ValueError, match=r"'frozen' \(got 'frosty'\)"):
        ContextAuditor(db, task, 'frosty')
    auditor = ContextAuditor(db, task)
    with pytest.raises(ValueError, match='no contexts to audit'):
        auditor.report()
    with pytest.raises(TypeError, match=r'must be a CellData \(got dict\)'):
        auditor.add({})
    with pytest.raises(ValueError, match="not of task 'customer-amount'"):
        auditor.add(random_cells())
    auditor.add(cells)
    cells.fkey_names = cells.fkey_names[1:]
    with pytest.raises(ValueError, match='fkey_names differ'):
        auditor.add(cells)
    smaller = toy_database()
    del smaller.table_dict['orders']
    with pytest.raises(ValueError, match=r"database lacks \(got \['orders'\]"):
        ContextAuditor(smaller, task).add(cells)
    task.cutoffs = {}
    with pytest.raises(ValueError, match='has no cutoff'):
        ContextAuditor(db, task)
    monkeypatch.setitem(sys.modules, 'duckdb', None)
    with pytest.raises(ImportError, match=r'pip install "torch-geometric-rfm\[relb'):
        ContextAuditor(db, task)


def test_audits_of_one_database_do_not_meet():
    db = toy_database()
    first = ContextAuditor(db, toy_task())
    second = ContextAuditor(first.raw, toy_task(kind='regression'))
    for auditor, kind in ((first, 'binary'), (second, 'regression')):
        store = toy_task_store(kind)
        auditor.add(next(iter(ContextLoader(store, batch_size=16))))
    assert [auditor.report().contexts for auditor in (first, second)] == [16, 16]
    first.add(next(iter(ContextLoader(toy_task_store(), input_nodes='test'))))
    assert (first.report().contexts, first.report().findings) == (48, 0)
