r"""Masks in a loader: the same for any workers and batches, others every epoch."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch_geometric.data import Batch

from torch_geometric_rfm.data import ColumnSample
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.nn.encoder import row_age
from torch_geometric_rfm.testing import random_cells, toy_task_store
from torch_geometric_rfm.transforms import MaskCells

WORKERS = pytest.mark.filterwarnings(
    'ignore:This DataLoader will create:UserWarning',
    'ignore:.*fork.*:DeprecationWarning',
)
BERT = MaskCells(
    {'uniform': 1, 'column': 1, 'row': 1, 'neighborhood': 1, 'foreign_key': 1},
    corruption=(0.4, 0.4, 0.2),
)


@pytest.fixture(scope='module')
def store():
    return toy_task_store('regression')


def contents(batches):
    r"""All tensors of some batches, with strings in place of their numbers."""
    out = {}
    for cells in batches:
        string = (cells.cell_type >= 3).unsqueeze(1)
        shown = string & ~cells.mask.unsqueeze(1)
        asked = string & cells.predict_mask.unsqueeze(1)
        part = {
            key: cells[key].nan_to_num(1e9)
            for key in ('value', 'relative_time', 'mask', 'shown_mask', 'target')
        }
        part['text'] = cells.text_embedding[cells.text_index] * shown
        part['target_text'] = cells.text_embedding[cells.target_text_index] * asked
        part['links'] = cells.fkey_index.size(1), cells.fkey_target_index.size(1)
        part['id'] = cells.input_id, cells.epoch
        for key, value in part.items():
            out.setdefault(key, []).append(value)
    for key in ('links', 'id'):
        first, second = zip(*out.pop(key))
        if key == 'links':
            out[key] = torch.tensor([sum(first), sum(second)])
        else:
            out[key] = torch.stack([torch.cat(first), torch.cat(second)])
    return {k: v if torch.is_tensor(v) else torch.cat(v) for k, v in out.items()}


def assert_equal(first, second):
    first, second = contents(first), contents(second)
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@WORKERS
@pytest.mark.parametrize('num_workers', [1, 2])
def test_masks_do_not_depend_on_workers(store, num_workers):
    kwargs = {'num_cells': 40, 'batch_size': 50, 'shuffle': True, 'transform': BERT}
    alone = ContextLoader(store, **kwargs)
    together = ContextLoader(store, num_workers=num_workers, **kwargs)
    epochs = []
    for _ in range(2):
        batches = list(alone)
        received = list(together)
        assert_equal(batches, received)
        for cells in received:
            assert cells.column_names is together.context_sampler.shared['column_names']
            assert 'column_sample' not in cells
        epochs.append(batches)
    assert contents(epochs[0])['links'][1] > 0
    masks = []
    for epoch, batches in enumerate(epochs):
        joined = contents(batches)
        assert (joined['id'][1] == epoch).all()
        of_input = {
            int(cells.input_id[b]): cells.predict_mask[cells.ptr[b] : cells.ptr[b + 1]]
            for cells in batches
            for b in range(cells.num_contexts)
        }
        masks.append(of_input)
    same = [torch.equal(masks[0][i], masks[1][i]) for i in masks[0]]
    assert np.mean(same) < 0.3


def test_masks_do_not_depend_on_the_batch(store):
    kwargs = {'num_cells': 40, 'transform': BERT}
    batches = list(ContextLoader(store, batch_size=64, **kwargs))
    single = list(ContextLoader(store, batch_size=1, **kwargs))
    assert_equal(batches, single)
    assert_equal(batches, [Batch.from_data_list(single)])


def test_seeds_of_masks(store):
    kwargs = {'num_cells': 40, 'batch_size': 400}

    def mask(seed):
        loader = ContextLoader(
            store, transform=MaskCells('uniform', seed=seed), **kwargs
        )
        return next(iter(loader)).mask

    assert torch.equal(mask(0), mask(0))
    assert not torch.equal(mask(0), mask(1))


def test_shares_of_corruption(store):
    transform = MaskCells('uniform', 0.5, corruption=(0.8, 0.1, 0.1))
    kwargs = {'num_cells': 64, 'batch_size': 400}
    before = next(iter(ContextLoader(store, **kwargs)))
    after = next(iter(ContextLoader(store, transform=transform, **kwargs)))
    chosen = after.predict_mask & ~before.mask
    same = after.value == before.value
    same &= after.relative_time == before.relative_time
    strings = [c.text_embedding[c.text_index] for c in (before, after)]
    same &= (strings[0] == strings[1]).all(1) | (before.cell_type < 3)
    # A random value may be the own one, so text of many values is looked at.
    sample = ColumnSample(store)
    wide = [np.unique(sample.values(i)).size > 30 for i in range(sample.num_columns)]
    chosen &= torch.tensor(wide)[before.column]
    hidden = (chosen & after.mask).sum()
    unchanged = (chosen & after.shown_mask & same).sum()
    random = (chosen & after.shown_mask & ~same).sum()
    counts = np.array([hidden, random, unchanged], dtype=float)
    assert counts.sum() > 2000
    assert chisquare(counts, counts.sum() * np.array([0.8, 0.1, 0.1])).pvalue > 1e-3


def test_random_values_are_spread_over_the_column(store):
    transform = MaskCells('uniform', 0.9, corruption=(0.0, 1.0, 0.0))
    loader = ContextLoader(store, num_cells=64, batch_size=400, transform=transform)
    cells = next(iter(loader))
    status = store.column_names.index('status of orders')
    chosen = cells.shown_mask & (cells.column == status)
    shown = cells.text_embedding[cells.text_index[chosen]]
    column = ColumnSample(store).values(status)
    strings, expected = np.unique(column, return_counts=True)
    vectors = store.store.text_embedding[torch.from_numpy(strings)]
    counts = (shown[:, None] == vectors).all(2).sum(0).numpy()
    assert counts.sum() == chosen.sum() > 300
    expected = expected / expected.sum() * counts.sum()
    assert chisquare(counts, expected).pvalue > 1e-3


def test_random_dates_keep_value_and_distance_together(store):
    transform = MaskCells('uniform', 0.9, corruption=(0.0, 1.0, 0.0))
    loader = ContextLoader(store, num_cells=64, batch_size=40, transform=transform)
    cells = next(iter(loader))
    date = store.column_names.index('date of orders')
    chosen = cells.shown_mask & (cells.column == date)
    assert chosen.sum() > 50
    mean, std = store.store.arrays.datetime_scale
    seconds = cells.value[chosen].double() * std + mean
    days = (seconds - cells.seed_time[cells.batch[chosen]]) / 86_400
    expected = days.sign() * days.abs().log1p()
    assert torch.allclose(cells.relative_time[chosen].double(), expected, atol=1e-2)
    # The row does not tell its date either.
    rows = cells.row[chosen]
    assert not row_age(cells)[rows].any()


def test_shown_cells_are_predicted_and_count(store):
    transform = MaskCells('uniform', 0.5, corruption=(0.0, 0.5, 0.5))
    loader = ContextLoader(store, num_cells=40, batch_size=8, transform=transform)
    cells = next(iter(loader))
    assert cells.mask.sum() < 12  # Where a context has no other value, it hides.
    model = RelationalTransformer.small(
        channels=16, heads=2, text_channels=store.store.text_channels, zero_init=False
    )
    model.eval()
    full, some = model(cells), model(cells, hidden_only=True)
    asked = cells.predict_mask
    assert asked.sum() > 50
    assert torch.allclose(some[asked], full[asked], atol=1e-5)
    assert not some[~asked].any()
    loss_fn = MaskedCellLoss()
    counted = asked & (cells.cell_type < 3)
    changed = full.detach().clone().requires_grad_()
    loss_fn(changed, cells).backward()
    assert torch.equal(changed.grad != 0, counted)


def test_random_values_need_a_sample(store):
    transform = MaskCells('uniform', corruption=(0.8, 0.1, 0.1))
    cells = random_cells()
    with pytest.raises(ValueError, match="random values need 'column_sample'.*Context"):
        transform(cells)
    cells.column_sample = ColumnSample(store)
    match = r"'column_sample' must be of the store .* \(got 12 columns for 5\)"
    cells.column_embedding = cells.column_embedding[:5]
    with pytest.raises(ValueError, match=match):
        transform(cells)
    # Outside a loader, it is set by hand.
    cells = next(iter(ContextLoader(store, num_cells=40)))
    cells.column_sample = ColumnSample(store)
    assert transform(cells).shown_mask.any()
