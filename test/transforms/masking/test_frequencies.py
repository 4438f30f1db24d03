r"""How often each strategy hides what, against its definition. The schema is skewed:
a table of many rows and few columns, a small wide one, and a column with one cell.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2, chi2_contingency, chisquare, kstest

from torch_geometric_rfm.data import CellData, CellType
from torch_geometric_rfm.testing import random_cells
from torch_geometric_rfm.transforms import MaskCells, MaskStrategy
from torch_geometric_rfm.transforms.masking.choice import draw_rates
from torch_geometric_rfm.transforms.masking.random_draws import context_keys

P_VALUE = 1e-3  # Seeds are fixed: a test below it fails always, above it never.
COPIES = 1500


def contexts(rows, links, copies=COPIES):
    r"""Copies of one context; `rows` holds the columns of the cells of each row."""
    row = [i for i, columns in enumerate(rows) for _ in columns]
    column = [c for columns in rows for c in columns]
    num_cells, num_rows = len(row), len(rows)
    child, parent = np.array(links, dtype=np.int64).reshape(-1, 2).T
    copy = torch.arange(copies)
    shift = copy.repeat_interleave(num_cells)
    num_links = len(child)
    fkey_index = torch.tensor(np.stack([child, parent])).repeat(1, copies)
    return CellData(
        value=torch.randn(num_cells * copies),
        relative_time=torch.zeros(num_cells * copies),
        text_index=torch.zeros(num_cells * copies, dtype=torch.long),
        cell_type=torch.zeros(num_cells * copies, dtype=torch.long),
        column=torch.tensor(column).repeat(copies),
        row=torch.tensor(row).repeat(copies) + num_rows * shift,
        row_time=torch.zeros(num_rows * copies, dtype=torch.long),
        fkey_index=fkey_index + num_rows * copy.repeat_interleave(num_links),
        fkey_type=torch.zeros(num_links * copies, dtype=torch.long),
        column_embedding=torch.zeros(max(column) + 1, 4),
        text_embedding=torch.zeros(1, 4),
        column_names=[f'c{i} of t' for i in range(max(column) + 1)],
        seed_row=copy * num_rows,
        input_id=copy,
        epoch=torch.full((copies,), 3),
        mask=torch.zeros(num_cells * copies, dtype=torch.bool),
        target=torch.full((num_cells * copies,), torch.nan),
        batch=shift,
        num_nodes=num_cells * copies,
    )


# A wide row, forty orders of it with an amount and an optional note, one with a flag.
WIDE = [0, 1, 2, 3, 4, 5]
ORDERS = [[6, 7] if i % 4 == 0 else [6] for i in range(40)]
ORDERS[5] = [6, 8]
ROWS = [WIDE, *ORDERS]
LINKS = [(i, 0) for i in range(1, 41)]


@pytest.fixture(scope='module')
def skewed():
    return contexts(ROWS, LINKS)


def hidden(cells, *args, **kwargs):
    r"""Which cells of each copy are hidden: [copies, cells]."""
    out = MaskCells(*args, **kwargs)(cells)
    return (out.mask & ~cells.mask).view(cells.num_contexts, -1).numpy()


def assert_binomial(counts, trials, rate):
    r"""Independent counts: the sum of their squared scores is chi-squared."""
    score = (counts - trials * rate) ** 2 / (trials * rate * (1 - rate))
    assert P_VALUE < chi2.sf(score.sum(), len(counts)) < 1 - P_VALUE


def assert_counts(totals, distribution):
    r"""How many are hidden at once, with rare outcomes taken together."""
    expected = distribution.pmf(np.arange(totals.max() + 2)) * len(totals)
    observed = np.bincount(totals, minlength=len(expected)).astype(float)
    common = expected >= 5
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(expected[common], len(totals) - expected[common].sum())
    keep = expected > 1e-9
    assert chisquare(observed[keep], expected[keep]).pvalue > P_VALUE


@pytest.mark.parametrize('rate', [0.15, 0.4])
def test_uniform(skewed, rate):
    mask = hidden(skewed, 'uniform', rate)
    assert_binomial(mask.sum(0), COPIES, rate)
    assert_counts(mask.sum(1), binom(mask.shape[1], rate))


@pytest.mark.parametrize('rate', [0.25, 0.15])
def test_column(skewed, rate):
    mask = hidden(skewed, 'column', rate)
    column = skewed.column[: mask.shape[1]].numpy()
    sizes = np.bincount(column)
    assert sizes.tolist() == [1] * 6 + [40, 10, 1]
    singles = []
    for c, size in enumerate(sizes):
        part = mask[:, column == c]
        low, share = divmod(round(rate * size, 9), 1)
        count = part.sum(1)
        # Never further than one from the share, and rounded up as often as needed.
        assert set(count) <= {low, low + 1}
        if share > 0:
            singles.append((count == low + 1).sum())
            assert_binomial(np.array(singles[-1:]), COPIES, share)
        # Every cell of a column alike. Draws without replacement repel each other.
        if size > 1:
            chosen = part.sum(0)
            expected = count.sum() / size
            variance = (count / size * (1 - count / size)).sum()
            score = ((chosen - expected) ** 2).sum() / variance * (size - 1) / size
            assert P_VALUE < chi2.sf(score, size - 1) < 1 - P_VALUE
    # The tables have their share too: six cells, and fifty-one.
    for table in (column < 6, column >= 6):
        assert abs(mask[:, table].mean() - rate) < 0.01
    # Columns round independently of each other.
    single = mask[:, :6].sum(1)
    assert_counts(single, binom(6, rate))


def test_row(skewed):
    mask = hidden(skewed, 'row', 0.3)
    row = skewed.row[: mask.shape[1]].numpy()
    first = np.searchsorted(row, np.arange(41))
    assert (mask == mask[:, first][:, row]).all()
    assert_binomial(mask[:, first].sum(0), COPIES, 0.3)
    assert_counts(mask[:, first].sum(1), binom(41, 0.3))
    assert abs(mask.mean() - 0.3) < 0.01


SMALL = [[0, 1], [2], [2, 3, 3], [2], [], [4, 4]]
SMALL_LINKS = [(1, 0), (2, 0), (2, 4), (5, 4), (3, 2)]


def neighborhoods(rng, rate):
    r"""The definition, step by step: rows in random order, each with its children."""
    left = rate * sum(map(len, SMALL))
    out = [False] * len(SMALL)
    for center in rng.permutation(len(SMALL)):
        children = [c for c, p in SMALL_LINKS if p == center]
        for row in [center, *rng.permutation(children).astype(int)]:
            size = len(SMALL[row])
            if out[row] or size == 0:
                continue
            if rng.random() * size >= left:
                return tuple(out)
            out[row], left = True, left - size
            if left <= 0:
                return tuple(out)
    return tuple(out)


@pytest.mark.parametrize('rate', [0.3, 0.6])
def test_neighborhood(rate):
    cells = contexts(SMALL, SMALL_LINKS, copies=4000)
    mask = hidden(cells, 'neighborhood', rate)
    row = cells.row[: mask.shape[1]].numpy()
    assert all(
        (mask[:, row == r].any(1) == mask[:, row == r].all(1)).all() for r in row
    )
    ours = np.stack([mask[:, row == r].any(1) for r in range(len(SMALL))], axis=1)
    rng = np.random.default_rng(0)
    theirs = np.array([neighborhoods(rng, rate) for _ in range(4000)])
    theirs &= np.array([len(columns) > 0 for columns in SMALL])
    code = 2 ** np.arange(len(SMALL))
    table = np.stack(
        [np.bincount(sets @ code, minlength=2 ** len(SMALL)) for sets in (ours, theirs)]
    )
    rare = table.sum(0) < 20
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
    table = table[:, table.sum(0) > 0]
    assert table.shape[1] > 4
    assert chi2_contingency(table).pvalue > P_VALUE
    assert abs(mask.mean() - rate) < 0.01


def test_neighborhood_of_a_hub(skewed):
    mask = hidden(skewed, 'neighborhood', 0.2)
    assert abs(mask.mean() - 0.2) < 0.005
    # The share is never exceeded by more than a row.
    assert mask.sum(1).max() <= np.ceil(0.2 * mask.shape[1]) + 6


def test_foreign_key(skewed):
    out = MaskCells('foreign_key', 0.2)(skewed)
    assert torch.equal(out.mask, skewed.mask)
    assert out.fkey_index.size(1) + out.fkey_target_index.size(1) == 40 * COPIES
    child, parent = out.fkey_target_index.numpy()
    assert (parent == child // 41 * 41).all()
    assert_binomial(np.bincount(child % 41, minlength=41)[1:], COPIES, 0.2)
    assert_counts(np.bincount(child // 41, minlength=COPIES), binom(40, 0.2))


class OneColumn(MaskStrategy):
    def __init__(self, column):
        self.column = column

    def cells(self, view):
        return view.eligible & (view.column == self.column)


def test_mixture(skewed):
    mixture = [(OneColumn(i), weight) for i, weight in enumerate([5, 0, 2, 1])]
    mask = hidden(skewed, mixture)
    assert (mask.sum(1) == 1).all()
    counts = mask[:, :4].sum(0)
    assert counts[1] == 0
    assert (
        chisquare(counts[[0, 2, 3]], COPIES * np.array([5, 2, 1]) / 8).pvalue > P_VALUE
    )


def test_a_mixture_leaves_each_context_to_one_strategy(skewed):
    out = MaskCells({'uniform': 1, 'foreign_key': 1}, 0.3)(skewed)
    has_cells = out.mask.view(COPIES, -1).any(1)
    links = torch.bincount(out.fkey_target_index[0] // 41, minlength=COPIES)
    assert not (has_cells & (links > 0)).any()
    assert_binomial(np.array([has_cells.sum().item()]), COPIES, 0.5)


def test_rates_are_drawn_per_context(skewed):
    keys = context_keys(0, skewed.epoch, skewed.input_id)
    rates = draw_rates(keys, 0.15, 0.3)
    assert kstest(((rates - 0.15) / 0.15).numpy(), 'uniform').pvalue > P_VALUE
    # The number of cells follows the mixture of binomials.
    mask = hidden(skewed, 'uniform')
    grid = np.linspace(0.15, 0.3, 201)
    size = mask.shape[1]
    pmf = binom.pmf(np.arange(size + 1)[:, None], size, grid).mean(1)
    expected, observed = pmf * COPIES, np.bincount(mask.sum(1), minlength=size + 1)
    common = expected >= 5
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(expected[common], COPIES - expected[common].sum())
    assert chisquare(observed, expected).pvalue > P_VALUE


def test_strategies_draw_independently_of_seed_epoch_and_input(skewed):
    base = hidden(skewed, 'uniform', 0.5)
    later = skewed.clone()
    later.epoch = skewed.epoch + 1
    moved = skewed.clone()
    moved.input_id = skewed.input_id + 1
    others = [
        hidden(later, 'uniform', 0.5),
        hidden(skewed, 'uniform', 0.5, seed=1),
        hidden(moved, 'uniform', 0.5),
    ]
    assert (others[2][:-1] == base[1:]).all()
    for first, second in itertools.combinations([base, *others], 2):
        agree = (first == second).sum()
        assert_binomial(np.array([agree]), first.size, 0.5)


def test_corruption(skewed):
    cells = MaskCells('uniform', 0.5, corruption=(0.8, 0.0, 0.2))(skewed)
    chosen = cells.mask | cells.shown_mask
    assert not (cells.mask & cells.shown_mask).any()
    share = cells.shown_mask.sum().item()
    assert_binomial(np.array([share]), chosen.sum().item(), 0.2)
    shown = cells.shown_mask
    assert torch.equal(cells.value[shown], skewed.value[shown])
    # What is chosen does not depend on what becomes of it.
    assert torch.equal(chosen, MaskCells('uniform', 0.5)(skewed).mask)


@pytest.mark.parametrize('kind', list(CellType))
def test_cell_types_are_hidden_alike(kind):
    cells = random_cells(num_contexts=20, num_cells=300)
    for strategy in ('uniform', 'row', 'column', 'neighborhood'):
        out = MaskCells(strategy, rate=0.5)(cells)
        at = (cells.cell_type == kind) & ~cells.mask
        assert abs(out.mask[at].float().mean() - 0.5) < 0.08
        only = MaskCells(strategy, rate=0.5, cell_types=[kind.name.lower()])(cells)
        added = only.mask & ~cells.mask
        assert added.any()
        assert (cells.cell_type[added] == kind).all()
