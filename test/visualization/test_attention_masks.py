import builtins

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from torch_geometric_rfm.nn import attention_masks
from torch_geometric_rfm.testing import random_cells
from torch_geometric_rfm.visualization import plot_attention_masks
from torch_geometric_rfm.visualization.attention_masks import _by_table


def painted(axes):
    r"""Which pairs of a picture are not white."""
    return (axes.images[0].get_array() < 1).any(axis=-1)


@pytest.mark.parametrize('context', [0, 1])
def test_pictures_show_the_masks(context):
    cells = random_cells(num_contexts=2, num_cells=[20, 31])
    size = [20, 31][context]
    figure = plot_attention_masks(cells, context)
    assert len(figure.axes) == 4
    for axes, (name, mask) in zip(figure.axes, attention_masks(cells).items()):
        inside = torch.ones(size, size) if mask.mask is None else mask.mask[context]
        inside = inside[:size, :size].numpy().astype(bool)
        assert axes.get_title(loc='left').startswith(f'{name}: ')
        # Cells are reordered, pairs are neither lost nor invented.
        shown = painted(axes)
        assert shown.shape == (size, size)
        assert sorted(shown.sum(axis=0)) == sorted(inside.sum(axis=0))
        assert sorted(shown.sum(axis=1)) == sorted(inside.sum(axis=1))
    assert '100 % of all pairs' in figure.axes[3].get_title(loc='left')


def test_cells_lie_by_table_and_row_with_the_seed_row_first():
    row = np.array([0, 0, 1, 1, 2, 3])
    table = np.array([2, 2, 0, 0, 1, 2])
    order, blocks = _by_table(row, table, row == 1)
    assert order.tolist() == [2, 3, 0, 1, 5, 4]
    assert blocks == [(0, 0, 2), (2, 2, 5), (1, 5, 6)]


def test_a_batch_and_its_contexts_give_one_picture():
    contexts = [random_cells(num_cells=size, seed=size) for size in (9, 16)]
    single = plot_attention_masks(contexts[1])
    batch = plot_attention_masks(Batch.from_data_list(contexts), context=1)
    for left, right in zip(single.axes, batch.axes):
        assert (painted(left) == painted(right)).all()
        assert left.get_title(loc='left') == right.get_title(loc='left')


def test_table_names_do_not_overlap():
    cells = random_cells(num_cells=200, num_tables=14)
    figure = plot_attention_masks(cells)
    notes = [
        text for text in figure.axes[0].texts if text.get_text().startswith('table')
    ]
    places = sorted(text.xyann[1] for text in notes)
    assert len(places) == len(torch.unique(cells.row_table[cells.row]))
    assert min(np.diff(places)) > 0.04
    assert min(places) >= -1e-9
    assert max(places) <= 1 + 1e-9


def test_saved_to_a_new_folder(tmp_path):
    path = tmp_path / 'new' / 'masks.png'
    plot_attention_masks(random_cells(), path=path)
    assert path.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('context', [-1, 2])
def test_unknown_context(context):
    with pytest.raises(ValueError, match=rf'\[0, 2\) \(got {context}\)'):
        plot_attention_masks(random_cells(num_contexts=2), context)


def test_missing_matplotlib(monkeypatch):
    actual = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.startswith('matplotlib'):
            raise ImportError(name)
        return actual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_matplotlib)
    with pytest.raises(ImportError, match=r'pip install "torch-geometric-rfm\[plot\]"'):
        plot_attention_masks(random_cells())
