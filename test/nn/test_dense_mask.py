import pytest
import torch

from torch_geometric_rfm.nn import DenseMask


def test_from_batch():
    mask = torch.ones(2, 3, 3, dtype=torch.bool)
    dense = DenseMask.from_batch(mask, torch.tensor([0, 1, 1]))
    assert dense.num_cells == 3
    assert dense.index.tolist() == [0, 3, 4]
    assert dense.mask[0].nonzero().tolist() == [[0, 0]]
    assert dense.mask[1].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert dense.to_edge_index().t().tolist() == [
        [0, 0],
        [1, 1],
        [2, 1],
        [1, 2],
        [2, 2],
    ]
    assert dense.empty is None
    assert dense.attn_mask.any(dim=-1).all()

    full = DenseMask.from_batch(mask, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert full.index is None
    assert full.mask is mask


def test_empty_queries():
    mask = torch.tensor([[[False, True], [False, False]]])
    dense = DenseMask(mask, None, (1, 2))
    assert dense.empty.tolist() == [[False], [True]]
    assert dense.attn_mask.tolist() == [[[[False, True], [True, True]]]]
    assert dense.to_edge_index().tolist() == [[1], [0]]


def test_num_keys():
    mask = torch.tensor([[[1, 1, 0], [0, 0, 0], [1, 1, 1]]] * 2).bool()
    batch = torch.tensor([0, 0, 1, 1, 1])
    assert DenseMask.from_batch(mask, batch).num_keys.tolist() == [2, 0, 2, 0, 3]
    assert DenseMask(mask, None, (2, 3)).num_keys.tolist() == [2, 0, 3, 2, 0, 3]
    assert DenseMask(None, None, (2, 3)).num_keys.tolist() == [3] * 6


def test_full_edge_index():
    dense = DenseMask(None, None, (2, 2))
    expected = [[0, 1, 0, 1, 2, 3, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3]]
    assert dense.to_edge_index().tolist() == expected


def test_bad_arguments():
    mask = torch.ones(2, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="'mask' may be None only where nothing"):
        DenseMask(None, torch.tensor([0]), (1, 2))
    with pytest.raises(TypeError, match='must be boolean .*float32'):
        DenseMask(mask.float(), None, (2, 3))
    with pytest.raises(ValueError, match=r'of shape \[2, 4, 4\] \(got \[2, 3, 3\]\)'):
        DenseMask(mask, None, (2, 4))
    with pytest.raises(ValueError, match=r'of shape \[B, S, S\] \(got \[2, 3, 2\]\)'):
        DenseMask.from_batch(mask[:, :, :2], None)
    with pytest.raises(ValueError, match='ascending order'):
        DenseMask.from_batch(mask, torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="'mask' is too small: 1 contexts of up to 4"):
        DenseMask.from_batch(mask, torch.tensor([0, 0, 0, 0]))
    with pytest.raises(ValueError, match="'mask' is too small: 3 contexts"):
        DenseMask.from_batch(mask, torch.tensor([0, 1, 2]))
