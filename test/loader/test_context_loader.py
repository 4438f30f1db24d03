import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import get_worker_info
from torch_geometric.data import Batch

from torch_geometric_rfm.data import CellStore, HashingTextEncoder, to_hetero
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.testing import toy_database, toy_task_store
from torch_geometric_rfm.transforms import MaskCells

WORKERS = pytest.mark.filterwarnings(
    'ignore:This DataLoader will create:UserWarning',
    'ignore:.*fork.*:DeprecationWarning',
)


@pytest.fixture(scope='module')
def store():
    return toy_task_store('regression')


def resolved(cells):
    r"""The batch with strings and phrases in place of the numbers of them."""
    out = {
        key: value
        for key, value in cells.to_dict().items()
        if torch.is_tensor(value) and not key.endswith('_embedding')
    }
    is_string = (cells.cell_type >= 3) & ~cells.mask
    strings = cells.text_embedding[cells.text_index]
    out['text_index'] = strings * is_string.unsqueeze(1)
    out['column'] = cells.column_embedding[cells.column]
    out['column_quantiles'] = cells.column_quantiles[cells.column]
    out['fkey_type'] = cells.fkey_embedding[cells.fkey_type]
    return out


def assert_equal(first, second):
    first, second = resolved(first), resolved(second)
    assert set(first) == set(second)
    for key, value in first.items():
        assert torch.equal(value.nan_to_num(7.0), second[key].nan_to_num(7.0)), key


@WORKERS
@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_batches_do_not_depend_on_workers(store, num_workers):
    kwargs = {
        'num_cells': 40,
        'num_neighbors': 2,
        'batch_size': 50,
        'shuffle': True,
        'temporal_strategy': 'uniform',
    }
    alone = ContextLoader(store, **kwargs)
    together = ContextLoader(store, num_workers=num_workers, **kwargs)
    epochs = []
    for _ in range(2):
        batches = list(alone)
        for first, second in zip(batches, together, strict=True):
            assert_equal(first, second)
        epochs.append(torch.cat([batch.input_id for batch in batches]))
    assert not torch.equal(*epochs)
    assert torch.equal(epochs[0].sort()[0], epochs[1].sort()[0])


@WORKERS
def test_persistent_workers_go_through_the_epochs(store):
    kwargs = {'num_cells': 40, 'batch_size': 200, 'temporal_strategy': 'uniform'}
    alone = ContextLoader(store, **kwargs)
    kept = ContextLoader(store, num_workers=1, persistent_workers=True, **kwargs)
    for _ in range(2):
        for first, second in zip(alone, kept, strict=True):
            assert_equal(first, second)


def test_seed_and_epoch_determine_the_draws(store):
    kwargs = {'num_cells': 24, 'num_neighbors': 1, 'batch_size': 400}

    def rows(loader):
        return next(iter(loader)).row_index.tolist()

    loader = ContextLoader(store, temporal_strategy='uniform', **kwargs)
    first, second = rows(loader), rows(loader)
    assert first != second
    again = ContextLoader(store, temporal_strategy='uniform', **kwargs)
    again.set_epoch(1)
    assert rows(again) == second
    again.set_epoch(0)
    assert rows(again) == first
    other = ContextLoader(store, temporal_strategy='uniform', seed=1, **kwargs)
    assert rows(other) != first
    last = ContextLoader(store, **kwargs)
    assert rows(last) == rows(last)


def test_a_batch_is_the_batch_of_its_contexts(store):
    kwargs = {'num_cells': 40, 'temporal_strategy': 'uniform'}
    kwargs['input_nodes'] = store.rows_of_split('val')[-8:]
    batch = next(iter(ContextLoader(store, batch_size=8, **kwargs)))
    singles = list(ContextLoader(store, batch_size=1, **kwargs))
    for single in singles:
        assert single.num_contexts == 1
    assert_equal(batch, Batch.from_data_list(singles))
    for single in singles:
        del single.batch, single.ptr
    assert_equal(batch, Batch.from_data_list(singles))
    assert batch.num_nodes == sum(single.num_nodes for single in singles)
    for i, single in enumerate(singles):
        inside = batch.batch == i
        assert torch.equal(batch.value[inside], single.value)
        assert torch.equal(batch.row[inside] - batch.seed_row[i], single.row)
        assert int(batch.ptr[i + 1] - batch.ptr[i]) == single.num_nodes


def test_contexts_are_what_they_promise(store):
    batch = next(iter(ContextLoader(store, input_nodes='test', batch_size=90)))
    frame = store.task.frame[store.task.frame['split'] == 'test']
    assert batch.num_contexts == 90
    assert batch.mask.sum() == 90
    assert batch.batch[batch.mask].tolist() == list(range(90))
    seconds = [int(time.timestamp()) for time in frame['time']]
    assert batch.seed_time.tolist() == seconds
    assert torch.equal(batch.seed_time, batch.visible_until)
    truth = (frame['label'].to_numpy() - store.label_mean) / store.label_std
    assert np.allclose(batch.target[batch.mask], truth, atol=1e-6)
    assert batch.value[batch.mask].abs().max() == 0
    assert torch.equal(batch.mask, ~batch.target.isnan())
    assert torch.equal(batch.text_index == 0, batch.cell_type < 3)
    assert batch.column_embedding.size(0) == len(batch.column_names)


def test_unlabelled_seeds_have_a_hidden_label(store):
    task = store.task.with_rows(toy_database(), pd.Series([3, 4]), '2021-12-01')
    batch = next(
        iter(ContextLoader(store.store.with_task(task), input_nodes='predict'))
    )
    assert batch.num_contexts == 2
    assert batch.target.isnan().all()
    assert batch.mask.sum() == 2


def test_frozen(store):
    kwargs = {'input_nodes': 'test', 'batch_size': 90}
    batch = next(iter(ContextLoader(store, protocol='frozen', **kwargs)))
    cutoff = int(store.task.cutoffs['test'].timestamp())
    assert (batch.visible_until == cutoff).all()
    assert (batch.seed_time > cutoff).any()
    in_database = torch.ones(batch.num_rows, dtype=torch.bool)
    in_database[batch.seed_row] = False
    assert batch.row_time[in_database].max() <= cutoff


def test_input_nodes(store):
    rows = torch.tensor([5, 2, 7])
    cells = next(iter(ContextLoader(store, input_nodes=rows)))
    assert cells.row_index[cells.seed_row].tolist() == [5, 2, 7]
    assert cells.input_id.tolist() == [0, 1, 2]
    mask = torch.zeros(len(store.task.frame), dtype=torch.bool)
    mask[[3, 9]] = True
    cells = next(iter(ContextLoader(store, input_nodes=mask)))
    assert cells.row_index[cells.seed_row].tolist() == [3, 9]


def test_a_transform_sees_every_batch(store):
    def transform(cells):
        cells.seen = True
        return cells

    loader = ContextLoader(store, transform=transform, batch_size=100)
    assert all(cells.seen for cells in loader)
    assert len(list(loader)) == len(loader) == 4
    assert repr(loader) == 'ContextLoader(306)'


@WORKERS
def test_threads_in_forked_workers(store):
    kwargs = {'num_cells': 40, 'batch_size': 100}
    alone = list(ContextLoader(store, **kwargs))
    loader = ContextLoader(store, num_threads=2, num_workers=2, **kwargs)
    # The threads of this process do not exist in the workers.
    rows, until = loader.rows[:8], loader.visible_until[:8]
    loader.context_sampler.sample(rows, until, until, rows)
    for first, second in zip(alone, loader, strict=True):
        assert_equal(first, second)


@WORKERS
@pytest.mark.parametrize('change', ['masks', 'strings', 'other type'])
def test_a_transform_runs_in_the_workers(store, change):
    def transform(cells):
        if change == 'masks':
            return MaskCells('uniform', 0.5)(cells)
        if change == 'strings':
            cells.text_embedding = cells.text_embedding + 1
            cells.worker = get_worker_info() is not None
            return cells
        return cells.value.sum(), cells.column_names

    kwargs = {'transform': transform, 'batch_size': 100, 'num_cells': 40}
    for first, second in zip(
        ContextLoader(store, **kwargs), ContextLoader(store, num_workers=2, **kwargs)
    ):
        if change == 'other type':
            assert first[0] == second[0]
            assert first[1] == second[1]
            continue
        assert_equal(first, second)
        assert first.column_names == second.column_names
        assert torch.equal(first.text_embedding, second.text_embedding)
        if change == 'strings':
            assert second.worker
            assert not first.worker


@WORKERS
@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('stop', [0, 1, 3, 7])
def test_a_resumed_epoch_equals_an_uninterrupted_one(store, num_workers, stop):
    kwargs = {
        'num_cells': 40,
        'num_neighbors': 2,
        'batch_size': 50,
        'shuffle': True,
        'temporal_strategy': 'uniform',
    }
    whole = ContextLoader(store, **kwargs)
    expected = [list(whole), list(whole)]
    stopped = ContextLoader(store, num_workers=num_workers, **kwargs)
    list(stopped)
    batches = iter(stopped)
    for _ in range(stop):
        next(batches)
    state = stopped.state_dict()
    # Before its first batch, an iteration has not begun.
    started = {'epoch': 1, 'num_batches': stop}
    assert state == (started if stop else {'epoch': 0, 'num_batches': 7})
    resumed = ContextLoader(store, num_workers=num_workers, **kwargs)
    resumed.load_state_dict(state)
    if stop == 7:  # The epoch was over: the next one begins.
        state = {'epoch': 2, 'num_batches': 0}
        expected.append(list(whole))
    elif stop == 0:
        state = {'epoch': 1, 'num_batches': 0}
    assert resumed.state_dict() == state
    rest = list(resumed)
    for first, second in zip(expected[-1][stop % 7 :], rest, strict=True):
        assert_equal(first, second)
    # And so it goes on.
    for first, second in zip(list(whole), resumed, strict=stop < 7):
        if stop < 7:
            assert_equal(first, second)


@pytest.mark.parametrize('num_replicas', [2, 3])
def test_ranks_are_disjoint_and_together_complete(store, num_replicas):
    kwargs = {'num_cells': 40, 'shuffle': True, 'temporal_strategy': 'uniform'}
    alone = list(ContextLoader(store, batch_size=1, **kwargs))
    of_input = {int(cells.input_id): cells for cells in alone}
    seen = []
    for rank in range(num_replicas):
        loader = ContextLoader(
            store, batch_size=1, rank=rank, num_replicas=num_replicas, **kwargs
        )
        shard = list(loader)
        assert len(shard) == len(loader)
        assert abs(len(shard) - len(alone) / num_replicas) < 1
        for cells in shard:
            assert_equal(cells, of_input[int(cells.input_id)])
            seen.append(int(cells.input_id))
    assert sorted(seen) == sorted(of_input)
    with pytest.raises(ValueError, match=r'got rank=2, num_replicas=2'):
        ContextLoader(store, rank=2, num_replicas=2)
    even = [
        list(ContextLoader(store, rank=rank, num_replicas=4, drop_last=True))
        for rank in range(4)
    ]
    assert {sum(cells.num_contexts for cells in shard) for shard in even} == {64}
    with pytest.raises(ValueError, match='shuffle=True excludes a sampler'):
        ContextLoader(store, sampler=[1, 2], shuffle=True)
    with pytest.raises(ValueError, match='shard the own order of the loader'):
        ContextLoader(store, sampler=[1, 2], num_replicas=2)


def test_a_sampler_or_batch_sampler_of_torch(store):
    loader = ContextLoader(store, sampler=[4, 1, 2], batch_size=2)
    assert [batch.input_id.tolist() for batch in loader] == [[4, 1], [2]]
    loader = ContextLoader(store, batch_sampler=[[4, 1], [2]])
    assert [batch.input_id.tolist() for batch in loader] == [[4, 1], [2]]
    loader.set_epoch(3)
    assert loader.state_dict() == {}
    loader.load_state_dict({})
    with pytest.raises(ValueError, match='of its own cannot be resumed'):
        loader.load_state_dict({'epoch': 0, 'num_batches': 1})


def test_without_a_task(store):
    time = int(pd.Timestamp('2021-06-01').timestamp())
    loader = ContextLoader(
        store.store, input_nodes=('shops', [2, 0]), input_time=torch.tensor(time)
    )
    cells = next(iter(loader))
    assert not cells.mask.any()
    assert cells.table_names == ['shops', 'customers', 'orders']
    assert cells.row_index[cells.seed_row].tolist() == [2, 0]
    assert cells.row_time.max() <= time
    times = torch.tensor([time, time + 1, time + 2, time + 3])
    cells = next(
        iter(ContextLoader(store.store, input_nodes='shops', input_time=times))
    )
    assert torch.equal(cells.seed_time, times)


def test_seeds_without_cells():
    # A table of keys alone, and a database without a string.
    db = toy_database()
    shops, orders = db.table_dict['shops'], db.table_dict['orders']
    shops.df = shops.df[['shop_id']]
    orders.df = orders.df[['order_id', 'customer_id', 'date', 'amount']]
    customers = db.table_dict['customers']
    customers.df = customers.df[['customer_id', 'shop_id', 'joined']]
    data, col_stats = to_hetero(db)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=HashingTextEncoder(channels=4), cache_dir=False
    )
    assert store.text_embedding.size() == (1, 4)
    cells = next(iter(ContextLoader(store, input_nodes='shops', input_time=0)))
    assert cells.num_nodes == 0
    assert cells.num_rows == 4
    assert cells.ptr.tolist() == [0, 0, 0, 0, 0]
    time = int(pd.Timestamp('2022-01-01').timestamp())
    cells = next(iter(ContextLoader(store, input_nodes='shops', input_time=time)))
    assert cells.num_nodes > 100
    assert not (cells.row[:, None] == cells.seed_row).any()
    assert (cells.text_index == 0).all()


def test_two_iterations_at_once(store):
    kwargs = {'num_cells': 24, 'batch_size': 100, 'temporal_strategy': 'uniform'}
    first, second = list(ContextLoader(store, **kwargs)), ContextLoader(store, **kwargs)
    second.set_epoch(1)
    epochs = [first, list(second)]
    loader = ContextLoader(store, **kwargs)
    for i, pair in enumerate(zip(loader, loader)):
        for expected, batch in zip(epochs, pair):
            assert_equal(expected[i], batch)
    loader.load_state_dict({'epoch': 1, 'num_batches': 2})
    loader.set_epoch(1)  # As a training loop does; it keeps the place.
    assert_equal(next(iter(loader)), epochs[1][2])


def test_without_batches(store):
    loader = ContextLoader(store, batch_size=None, num_cells=24)
    batches = iter(loader)
    for i in range(3):
        assert next(batches).input_id.tolist() == [i]


def test_errors(store):
    plain = store.store
    with pytest.raises(ValueError, match=r'whole unix seconds \(got float32\)'):
        ContextLoader(plain, input_nodes='shops', input_time=torch.tensor(0.5))
    missing = torch.tensor(torch.iinfo(torch.int64).min)
    with pytest.raises(ValueError, match=r'must not be missing \(got NaT\)'):
        ContextLoader(plain, input_nodes='shops', input_time=missing, strict=True)
    sampler, zero = ContextLoader(store).context_sampler, np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match=r'rows must lie in \[0, 516\) \(got 516'):
        sampler.sample(zero + 516, zero, zero, zero)
    with pytest.raises(ValueError, match='must not be later than seed_time'):
        sampler.sample(zero, zero, zero + 1, zero)
    with pytest.raises(ValueError, match='must not be missing'):
        sampler.sample(zero, zero, zero + np.iinfo(np.int64).min, zero)
    with pytest.raises(ValueError, match='input_time is the time of the task rows'):
        ContextLoader(store, input_time=torch.tensor(0))
    with pytest.raises(ValueError, match="no rows in split 'dev' .*test, train, val"):
        ContextLoader(store, input_nodes='dev')
    with pytest.raises(ValueError, match="'rolling' or 'frozen' \\(got 'thawed'\\)"):
        ContextLoader(store, protocol='thawed')
    with pytest.raises(ValueError, match=r'must lie in \[0, 516\) \(got 0 to 516\)'):
        ContextLoader(store, input_nodes=torch.tensor([0, 516]))
    with pytest.raises(ValueError, match=r'vector of rows .*got shape \[0\]'):
        ContextLoader(store, input_nodes=[])
    with pytest.raises(ValueError, match='a tuple of a table and rows .*got Tensor'):
        ContextLoader(plain, input_nodes=torch.tensor([0]), input_time=0)
    with pytest.raises(
        ValueError, match="unknown table \\(got 'train', known are: sho"
    ):
        ContextLoader(plain, input_time=0)
    with pytest.raises(ValueError, match=r"rows of table 'shops', in \[0, 4\)"):
        ContextLoader(plain, input_nodes=('shops', [4]), input_time=0)
    with pytest.raises(ValueError, match='input_time is needed'):
        ContextLoader(plain, input_nodes='shops')
    with pytest.raises(ValueError, match=r'one entry a seed \(got \[2\] for 4 seeds\)'):
        ContextLoader(plain, input_nodes='shops', input_time=[0, 0])
    with pytest.raises(ValueError, match="protocol must be 'rolling' for a store with"):
        ContextLoader(plain, input_nodes='shops', input_time=0, protocol='frozen')
    last = int(pd.Timestamp('2030-01-01').timestamp())
    with pytest.raises(ValueError, match='num_cells=2 is below the 5 cells of a seed'):
        ContextLoader(plain, input_nodes='orders', input_time=last, num_cells=2)


@pytest.mark.parametrize('strict', [False, True])
def test_seeds_beyond_their_own_time(store, strict):
    joined = store.store.arrays.row_time[4:34]
    with pytest.raises(ValueError, match='29 seeds are later .*first is row 5'):
        ContextLoader(
            store.store,
            input_nodes='customers',
            input_time=int(joined[0]) + strict,
            strict=strict,
        )
    kwargs = {'input_nodes': 'customers', 'input_time': torch.from_numpy(joined)}
    if strict:
        with pytest.raises(ValueError, match='30 seeds are later .*strict excludes'):
            ContextLoader(store.store, strict=True, **kwargs)
    else:
        assert len(ContextLoader(store.store, **kwargs)) == 1
