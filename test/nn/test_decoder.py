import pytest
import torch

from torch_geometric_rfm.nn import CellDecoder
from torch_geometric_rfm.testing import random_cells


def test_cell_decoder():
    decoder = CellDecoder(16, 8)
    assert str(decoder) == 'CellDecoder(16, text_channels=8)'
    cells = random_cells(num_cells=40)
    assert cells.cell_type.unique().numel() == 6
    x = torch.randn(40, 16)

    out = decoder(x, cells)
    assert out.size() == (40,)
    names = ['number', 'boolean', 'datetime']
    for i, kind in enumerate(cells.cell_type.tolist()):
        if kind < 3:
            expected = decoder.lins[names[kind]](x[i])[0]
            assert torch.allclose(out[i], expected, atol=1e-6)
        else:
            assert out[i] == 0

    subset = torch.tensor([30, 0, 7])
    assert torch.allclose(decoder(x[subset], cells, subset), out[subset], atol=1e-6)
    assert torch.equal(decoder.decode_text(x[:2]), decoder.lins['text'](x[:2]))


def test_shrink_scales_one_type_alone():
    decoder = CellDecoder(16, 8)
    cells, x = random_cells(num_cells=40), torch.randn(40, 16)
    copied = torch.randn(40)
    before = decoder(x, cells, copied=copied)
    decoder.shrink(0.25)
    after = decoder(x, cells, copied=copied)
    is_boolean = cells.cell_type == 1
    assert 0 < is_boolean.sum() < 40
    expected = copied + 0.25 * (before - copied)
    assert torch.allclose(after[is_boolean], expected[is_boolean], atol=1e-6)
    assert torch.equal(after[~is_boolean], before[~is_boolean])
    with pytest.raises(ValueError, match="no head of 'flag' .known are: 'number'"):
        decoder.shrink(0.5, 'flag')


def test_boolean_as_number():
    decoder = CellDecoder(16, 8, boolean_as_number=True)
    assert list(decoder.lins) == ['number', 'datetime', 'text']
    cells = random_cells(num_cells=40)
    x = torch.randn(40, 16)
    out = decoder(x, cells)
    expected = decoder.lins['number'](x).squeeze(1)
    chosen = cells.cell_type <= 1
    assert torch.allclose(out[chosen], expected[chosen], atol=1e-6)


def test_reset_parameters():
    decoder = CellDecoder(16, 8)
    decoder.reset_parameters(zero=True)
    assert not any(param.any() for param in decoder.parameters())
    decoder.reset_parameters()
    assert all(param.all() for param in decoder.parameters())
