import pytest
import torch

from torch_geometric_rfm.nn import RelationalBlock, attention_masks
from torch_geometric_rfm.testing import random_cells


def test_relational_block():
    torch.manual_seed(0)
    block = RelationalBlock(16, heads=2, ff_channels=24, attentions=['column', 'full'])
    assert str(block) == (
        "RelationalBlock(16, heads=2, ff_channels=24, attentions=['column', 'full'])"
    )
    cells = random_cells(num_contexts=2, num_cells=[6, 9])
    masks = attention_masks(cells)
    x = torch.randn(15, 16)

    expected = x
    for name in ('column', 'full'):
        out = block.attentions[name](block.norms[name](expected), masks[name])
        expected = expected + out
    h = block.ff_norm(expected)
    gate = block.w1(h) * block.w1(h).sigmoid()
    expected = expected + block.w2(gate * block.w3(h))
    out = block(x, masks)
    assert torch.allclose(out, expected, atol=1e-6)

    subset = torch.tensor([14, 2])
    assert torch.allclose(block(x, masks, subset=subset), out[subset], atol=1e-6)

    plain = {name: mask.mask for name, mask in masks.items()}
    assert torch.allclose(block(x, plain, cells.batch), out, atol=1e-6)


def test_zero_init():
    cells = random_cells()
    block = RelationalBlock(16, heads=2, ff_channels=24, zero_init=True)
    x = torch.randn(32, 16)
    assert torch.equal(block(x, attention_masks(cells)), x)


def test_options_reach_every_attention():
    options = {'qk_norm': True, 'gate': True, 'log_scale': True}
    block = RelationalBlock(
        16, heads=2, ff_channels=24, rms_eps=0.5, zero_init=True, **options
    )
    for attention in block.attentions.values():
        assert attention.q_norm.eps == attention.k_norm.eps == 0.5
        assert attention.scale.tolist() == [1.0, 1.0]
        assert not attention.lin_gate.weight.any()
        assert attention.lin_qkv.weight.all()
    plain = RelationalBlock(16, heads=2, ff_channels=24)
    for attention in plain.attentions.values():
        assert attention.q_norm is attention.lin_gate is attention.scale is None


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"unknown attention masks \(got \['rows'\]"):
        RelationalBlock(16, heads=2, ff_channels=24, attentions=['rows', 'full'])
    with pytest.raises(ValueError, match='heads=3, channels=16'):
        RelationalBlock(16, heads=3, ff_channels=24)
    block = RelationalBlock(16, heads=2, ff_channels=24)
    masks = attention_masks(random_cells(), ['column', 'full'])
    with pytest.raises(ValueError, match=r"lacks 'feature' \(got \['column', 'full'\]"):
        block(torch.randn(32, 16), masks)
