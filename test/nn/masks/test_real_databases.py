r"""Encodings of the masks of real contexts, against their edges in float64."""

from pathlib import Path

import pytest
import torch

from torch_geometric_rfm.data import (
    CellStore,
    HashingTextEncoder,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.nn import RelationalAttention, attention_masks

ROOT = Path(__file__).resolve().parents[3]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
CASES = [
    ('rel-f1', 'driver-dnf', None),
    ('worldcup', 'player-scores', '45 days'),
    ('quantum-stackexchange', 'user-engagement', None),
    ('mimic-demo', 'outputs-value', None),
    ('un-votes', 'country-casts-no', None),
]


def folder(name):
    if name == 'rel-f1':
        return ROOT / 'examples' / 'data' / name
    path = ROOT.parent / 'shared' / 'data' / name
    if not path.exists():
        pytest.skip(f'{name} is not here')
    return path


def draw(name, task_name, horizon):
    path = folder(name)
    db = load_database(path)
    cutoff = load_dataset(path).val_timestamp
    task = Task.from_relbench(load_task(path, task_name), db, horizon=horizon)
    data, col_stats = to_hetero(db, cutoff=cutoff)
    encoder = HashingTextEncoder(channels=4)
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=encoder, cutoff=cutoff, cache_dir=False
    ).with_task(task)
    loader = ContextLoader(store, num_cells=512, batch_size=3, shuffle=True)
    return next(iter(loader))


def run(conv, x, weight, mask):
    x = x.detach().clone().requires_grad_()
    conv.zero_grad()
    out = conv(x, mask)
    (out * weight).sum().backward()
    return [out.detach(), x.grad, *(param.grad.clone() for param in conv.parameters())]


@pytest.mark.parametrize(('name', 'task_name', 'horizon'), CASES)
def test_encodings_agree_on_real_contexts(name, task_name, horizon):
    cells = draw(name, task_name, horizon)
    generator = torch.Generator().manual_seed(0)
    shape = (cells.num_nodes, 16)
    x = torch.randn(shape, generator=generator, dtype=torch.double)
    weight = torch.randn(shape, generator=generator, dtype=torch.double)
    torch.manual_seed(0)
    conv = RelationalAttention(16, heads=2).double()
    edges = attention_masks(cells, backend='edge_index')
    encodings = {
        backend: attention_masks(cells, backend=backend)
        for backend in ('dense', 'blocked', 'auto')
    }
    flex = attention_masks(cells, backend='flex')
    for key, edge_index in edges.items():
        conv = conv.double()
        expected = run(conv, x, weight, edge_index)
        empty = torch.bincount(edge_index[1], minlength=shape[0]) == 0
        assert empty.any() == (key == 'neighbor')
        for dtype, tolerance in TOLERANCE.items():
            conv = conv.to(dtype)
            for masks in encodings.values():
                found = run(conv, x.to(dtype), weight.to(dtype), masks[key])
                assert not found[0][empty].any()
                for value, oracle in zip(found, expected, strict=True):
                    scale = max(1.0, float(oracle.abs().max()))
                    assert (value - oracle).abs().max() <= tolerance * scale
            with torch.no_grad():
                out = conv(x.to(dtype), flex[key])
            assert not out[empty].any()
            assert (out - expected[0]).abs().max() <= tolerance
