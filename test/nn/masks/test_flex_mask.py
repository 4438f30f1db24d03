import importlib
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._triton import has_triton

from torch_geometric_rfm.nn import (
    DenseMask,
    FlexMask,
    IdMask,
    RelationalAttention,
    attention_masks,
)
from torch_geometric_rfm.nn.masks.flex_blocks import padded_size
from torch_geometric_rfm.testing import random_cells

flex_mask = importlib.import_module('torch_geometric_rfm.nn.masks.flex_mask')
NAMES = ('column', 'feature', 'neighbor', 'full')


def padded_pairs(mask):
    # All pairs of the padded layout, in the token order of the mask.
    size = mask.size
    query, key = mask.position[mask.to_edge_index().flip(0)]
    out = torch.zeros(mask.num_contexts, size, size, dtype=torch.bool)
    out[query // size, query % size, key % size] = True
    return out


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=3),
    width=st.integers(0, 3),
    partition=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_blocks_and_mask_mod(sizes, width, partition, seed):
    generator = torch.Generator().manual_seed(seed)
    batch = torch.repeat_interleave(torch.tensor(sizes))
    shape = (batch.numel(),) if width == 0 else (batch.numel(), width)
    query = torch.randint(-1, 12, shape, generator=generator)
    key = torch.randint(-1, 12, (batch.numel(),), generator=generator)
    ids = IdMask(key, key) if partition else IdMask(query, key)
    mask = FlexMask(ids, batch, len(sizes), block_size=16)
    assert sorted(mask.position.tolist()) == [
        i * mask.size + j for i, size in enumerate(sizes) for j in range(size)
    ]

    pairs = padded_pairs(mask)
    block_mask = mask.block_mask
    b, q, kv = torch.meshgrid(*map(torch.arange, pairs.shape), indexing='ij')
    assert torch.equal(block_mask.mask_mod(b, 0, q, kv), pairs)

    blocks = pairs.unflatten(2, (-1, 16)).unflatten(1, (-1, 16)).transpose(2, 3)
    some, every = blocks.flatten(3).any(-1), blocks.flatten(3).all(-1)
    assert torch.equal(block_mask.to_dense().bool().squeeze(1), some)
    full = block_mask.full_kv_num_blocks
    listed = torch.zeros_like(every)
    for i in range(len(sizes)):
        for j in range(every.size(1)):
            number = int(full[i, 0, j])
            listed[i, j, block_mask.full_kv_indices[i, 0, j, :number].long()] = True
    assert torch.equal(listed, every)


def test_own_order_empties_blocks():
    generator = torch.Generator().manual_seed(0)
    column = torch.randint(64, (1024,), generator=generator)
    batch = torch.zeros_like(column)
    sorted_ = FlexMask(IdMask(column, column), batch, 1, block_size=64)
    as_is = FlexMask(IdMask(column, column.clone()), batch, 1, block_size=64)
    assert as_is.block_mask.sparsity() == 0
    assert sorted_.block_mask.sparsity() > 80


def test_few_sizes():
    sizes = {padded_size(size, 128) for size in range(1025, 2049)}
    assert len(sizes) == 4
    assert all(padded_size(size, 128) >= size for size in range(5000))


def test_bad_arguments():
    ids = torch.zeros(4, 9, dtype=torch.long)
    batch = torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"'block_size' must be a power of two .*100"):
        FlexMask(IdMask(batch, batch), batch, 1, block_size=100)
    many = IdMask(ids, ids.clone())
    assert not FlexMask.fits(many)
    with pytest.raises(ValueError, match=r'at most 64 pairs are compared \(got \[4, 9'):
        FlexMask(many, batch, 1)
    conv = RelationalAttention(8, heads=2)
    mask = FlexMask(IdMask(batch, batch), batch, 1)
    with pytest.raises(RuntimeError, match="no gradients on the CPU; .* 'blocked'"):
        conv(torch.randn(4, 8), mask)
    wide = attention_masks(
        random_cells(num_cells=4), {'wide': lambda cells: many}, backend='flex'
    )
    assert isinstance(wide['wide'], DenseMask)


def test_without_triton(monkeypatch):
    monkeypatch.setattr(flex_mask, '_has_triton', lambda: False)
    flex_mask._warn_of_missing_triton.cache_clear()
    with pytest.warns(UserWarning, match='FlexAttention needs Triton'):
        assert not flex_mask.has_flex(torch.device('cuda'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not flex_mask.has_flex(torch.device('cuda'))
    assert flex_mask.has_flex(torch.device('cpu'))


@pytest.mark.skipif(
    not (torch.cuda.is_available() and has_triton()), reason='needs CUDA and Triton'
)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_cuda(dtype):
    # Sums run in another order, and in bfloat16.
    tolerance = {torch.float32: 1e-2, torch.bfloat16: 5e-2}[dtype]
    torch.manual_seed(0)
    for sizes in ([700, 512], [300, 650], [600, 1]):
        cells = random_cells(2, num_cells=sizes, num_columns=40).to('cuda')
        conv = RelationalAttention(64, heads=2).cuda()
        x = torch.randn(sum(sizes), 64, device='cuda')
        edges = attention_masks(cells, backend='edge_index')
        masks = attention_masks(cells, backend='flex')
        for name in NAMES:
            results = []
            for mask, kind in ((edges[name], torch.float32), (masks[name], dtype)):
                conv.to(kind).zero_grad()
                leaf = x.to(kind).detach().requires_grad_()
                out = conv(leaf, mask)
                out.square().sum().backward()
                results.append([out, leaf.grad, *(p.grad for p in conv.parameters())])
            for oracle, value in zip(*results, strict=True):
                scale = max(1.0, float(oracle.abs().max()))
                assert (value.float() - oracle).abs().max() <= tolerance * scale
            assert not results[1][0][masks[name].num_keys == 0].any()
