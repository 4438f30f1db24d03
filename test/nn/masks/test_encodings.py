r"""Every encoding of a mask against its edges in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.nn import (
    BlockedMask,
    EdgeMask,
    FlexMask,
    IdMask,
    RelationalAttention,
)
from torch_geometric_rfm.nn.masks.build_masks import build_mask

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
HEADS, CHANNELS = 2, 8


def run(conv, x, weight, mask, *args):
    x = x.detach().clone().requires_grad_()
    conv.zero_grad()
    out = conv(x, mask, None, *args)
    (out * weight).sum().backward()
    return [out.detach(), x.grad, *(param.grad.clone() for param in conv.parameters())]


def check_encodings(ids, batch, num_contexts, generator, block_size=32):
    num_cells = batch.numel()
    edge_index = ids.to_edge_index(batch)
    x = torch.randn(num_cells, CHANNELS, generator=generator, dtype=torch.double)
    weight = torch.randn(num_cells, CHANNELS, generator=generator, dtype=torch.double)
    torch.manual_seed(0)
    conv = RelationalAttention(CHANNELS, HEADS).double()
    expected = run(conv, x, weight, edge_index)
    count = torch.bincount(edge_index[1], minlength=num_cells)
    assert not expected[0][count == 0].any()

    num_queries = min(num_cells, 5)
    subset = torch.randperm(num_cells, generator=generator)[:num_queries]
    expected_part = run(conv, x, weight[subset], edge_index, subset)
    assert torch.allclose(expected_part[0], expected[0][subset], rtol=0, atol=1e-12)

    masks = {
        'dense': build_mask(ids, batch, num_contexts, 'dense'),
        'blocked': BlockedMask(ids, batch, num_contexts, None, block_size),
    }
    flex = FlexMask(ids, batch, num_contexts, block_size=16)
    for mask in (*masks.values(), flex):
        assert mask.num_cells == mask.num_queries == num_cells
        assert torch.equal(mask.num_keys, count)
        pairs = mask.to_edge_index()
        code = (pairs[1] * num_cells + pairs[0]).sort().values
        assert torch.equal(code, edge_index[1] * num_cells + edge_index[0])
        part = mask.select(subset)
        assert part.num_queries == num_queries
        assert torch.equal(part.num_keys, count[subset])

    for dtype, tolerance in TOLERANCE.items():
        conv = conv.to(dtype)
        for mask in (*masks.values(), EdgeMask(edge_index, num_cells)):
            found = run(conv, x.to(dtype), weight.to(dtype), mask)
            assert not found[0][count == 0].any()
            part = run(conv, x.to(dtype), weight[subset].to(dtype), mask, subset)
            for values, oracles in ((found, expected), (part, expected_part)):
                for value, oracle in zip(values, oracles, strict=True):
                    scale = max(1.0, float(oracle.abs().max())) if num_cells else 1.0
                    assert ((value - oracle).abs() <= tolerance * scale).all()
        with torch.no_grad():
            out = conv(x.to(dtype), flex)
            assert not out[count == 0].any()
            assert ((out - expected[0]).abs() <= 10 * tolerance).all()
            part = conv(x.to(dtype), flex, subset=subset)
            assert ((part - expected_part[0]).abs() <= 10 * tolerance).all()
    return expected[0]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    widths=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    num_ids=st.sampled_from([1, 3, 20, 2**40]),
    partition=st.booleans(),
    block_size=st.sampled_from([1, 4, 32]),
    seed=st.integers(0, 1000),
)
def test_encodings_agree(sizes, widths, num_ids, partition, block_size, seed):
    generator = torch.Generator().manual_seed(seed)
    batch = torch.repeat_interleave(torch.tensor(sizes))

    def draw(width):
        shape = (batch.numel(),) if width == 0 else (batch.numel(), width)
        ids = torch.randint(-1, min(num_ids, 50), shape, generator=generator)
        return torch.where(ids > 0, ids * (num_ids // 50 + 1), ids)

    query = draw(0 if partition else widths[0])
    ids = IdMask(query, query if partition else draw(widths[1]))
    check_encodings(ids, batch, len(sizes), generator, block_size)


CASES = {
    'one giant group': torch.zeros(300),
    'groups of one cell': torch.arange(300),
    'thousands of groups': torch.arange(3000) % 1999,
    'no keys at all': torch.full((50,), -1),
    'one cell': torch.zeros(1),
    'no cells': torch.zeros(0),
}


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('partition', [True, False])
def test_extremes(name, partition):
    ids = CASES[name].long()
    batch = torch.zeros_like(ids)
    mask = IdMask(ids, ids if partition else ids.clone())
    generator = torch.Generator().manual_seed(0)
    out = check_encodings(mask, batch, 1, generator)
    assert out.any() == (name not in ('no keys at all', 'no cells'))


def test_contexts_without_cells():
    ids = torch.zeros(3, dtype=torch.long)
    batch = torch.tensor([1, 1, 3])
    mask = IdMask(ids, ids)
    assert BlockedMask(mask, batch, 5).num_keys.tolist() == [2, 2, 1]
    check_encodings(mask, batch, 5, torch.Generator().manual_seed(0))


@pytest.mark.parametrize('kind', [BlockedMask, FlexMask])
def test_bfloat16(kind):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(-1, 6, (100,), generator=generator)
    mask = kind(IdMask(ids, ids.roll(1)), torch.zeros_like(ids), 1)
    conv = RelationalAttention(CHANNELS, HEADS)
    x = torch.randn(100, CHANNELS, generator=generator)
    expected = conv(x, mask.to_edge_index())
    with torch.no_grad():
        low = conv.bfloat16()(x.bfloat16(), mask)
        conv.float()
        with torch.autocast('cpu', torch.bfloat16):
            auto = conv(x, mask)
    for out in (low, auto):
        assert out.dtype == torch.bfloat16
        assert torch.allclose(out.float(), expected, atol=0.03)
        assert not out[mask.num_keys == 0].any()


def test_autocast_trains():
    ids = torch.arange(40) // 7
    conv = RelationalAttention(CHANNELS, HEADS)
    x = torch.randn(40, CHANNELS)
    expected = run(
        conv,
        x,
        torch.ones(40, CHANNELS),
        ids_mask := BlockedMask(IdMask(ids, ids), torch.zeros_like(ids), 1),
    )
    with torch.autocast('cpu', torch.bfloat16):
        found = run(conv, x, torch.ones(40, CHANNELS), ids_mask)
    for value, oracle in zip(found, expected, strict=True):
        scale = float(oracle.abs().max())
        assert torch.allclose(value.float(), oracle, atol=0.03 * max(1.0, scale))


# Tracing an autograd.Function instantiates it:
@pytest.mark.filterwarnings('ignore:.*should not be instantiated:DeprecationWarning')
@pytest.mark.parametrize('backend', ['aot_eager', 'eager'])
def test_no_graph_breaks(backend):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(-1, 6, (100,), generator=generator)
    batch = torch.arange(100) // 60
    conv = RelationalAttention(CHANNELS, HEADS)
    x = torch.randn(100, CHANNELS, generator=generator)
    for mask in (
        BlockedMask(IdMask(ids, ids), batch, 2),
        BlockedMask(IdMask(ids, ids.clone()), batch, 2),
        build_mask(IdMask(ids, ids), batch, 2, 'dense'),
    ):
        expected = run(conv, x, torch.ones_like(x), mask)
        torch.compiler.reset()
        compiled = torch.compile(conv, fullgraph=True, backend=backend)
        compiled.zero_grad = conv.zero_grad
        compiled.parameters = conv.parameters
        found = run(compiled, x, torch.ones_like(x), mask)
        for value, oracle in zip(found, expected, strict=True):
            assert torch.allclose(value, oracle, atol=1e-5)
