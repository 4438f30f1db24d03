import math

import pytest
import torch
import torch_geometric.typing
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.explain import AttentionExplainer, Explainer, GNNExplainer
from torch_geometric.testing import withoutExtensions

from torch_geometric_rfm.nn import DenseMask, RelationalAttention, to_edge_index
from torch_geometric_rfm.testing import random_cells

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def run(conv, x, weight, *args):
    x = x.detach().clone().requires_grad_()
    conv.zero_grad()
    out = conv(x, *args)
    (out * weight).sum().backward()
    grads = [p.grad.clone() for p in conv.parameters()]
    return [out.detach(), x.grad, *grads]


def compare(conv, sizes, density, dtype, generator):
    num_cells, size = sum(sizes), max(sizes)
    shape = (len(sizes), size, size)
    mask = torch.rand(shape, generator=generator) < density
    batch = torch.repeat_interleave(torch.tensor(sizes))
    dense = DenseMask.from_batch(mask, batch)
    x = torch.randn(num_cells, conv.channels, generator=generator).to(dtype)
    weight = torch.randn(num_cells, conv.channels, generator=generator).to(dtype)

    encodings = [(dense.to_edge_index(),), (mask, batch), (dense,)]
    if dense.index is None:
        encodings.append((mask,))
    expected, *others = (run(conv, x, weight, *args) for args in encodings)
    for values in others:
        for value, oracle in zip(values, expected, strict=True):
            scale = max(1.0, float(oracle.abs().max()))
            assert (value - oracle).abs().max() <= TOLERANCE[dtype] * scale
    return dense, expected[0]


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    extras=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_encodings_agree(sizes, density, extras, seed):
    generator = torch.Generator().manual_seed(seed)
    for dtype in TOLERANCE:
        torch.manual_seed(seed)
        options = {'qk_norm': extras, 'gate': extras, 'log_scale': extras}
        conv = RelationalAttention(8, heads=2, **options)
        dense, out = compare(conv.to(dtype), sizes, density, dtype, generator)
        keyless = torch.ones(sum(sizes), dtype=torch.bool)
        keyless[dense.to_edge_index()[1]] = False
        assert not out[keyless].any()
        assert out[~keyless].all(dim=1).all()


@torch.no_grad()
def test_log_scale():
    torch.manual_seed(0)
    conv = RelationalAttention(4, heads=2, log_scale=True).double()
    plain = RelationalAttention(4, heads=2).double()
    plain.load_state_dict({k: v for k, v in conv.state_dict().items() if k != 'scale'})
    conv.scale.copy_(torch.tensor([3.0, 3.0]))
    x = torch.randn(6, 4, dtype=torch.double)
    # Cell 0 sees five keys, cell 1 one, cell 2 none.
    edge_index = torch.tensor([[1, 2, 3, 4, 5, 3], [0, 0, 0, 0, 0, 1]])
    out = conv(x, edge_index)
    scale = 3.0 * float(torch.tensor(5.0).bfloat16().log()) / 2**0.5
    assert scale != 3.0 * math.log(5.0) / 2**0.5  # since it is rounded
    plain.lin_qkv.weight[:4] *= scale
    assert torch.allclose(out[0], plain(x, edge_index)[0], atol=1e-12)
    # The logarithm of one key is zero, and its weight one whatever the logit.
    assert torch.allclose(out[1], plain(x, edge_index)[1], atol=1e-12)
    assert not out[2].any()
    # A mask without any entry that is False has no keys to count.
    full = DenseMask(None, None, (1, 6))
    assert torch.allclose(conv(x, full), conv(x, full.to_edge_index()), atol=1e-12)


@pytest.fixture
def without_extensions(request, monkeypatch):
    if request.param == 'disable_extensions':
        for name in ('PYG_LIB', 'SOFTMAX', 'TORCH_SCATTER', 'TORCH_SPARSE'):
            monkeypatch.setattr(torch_geometric.typing, f'WITH_{name}', False)


@withoutExtensions
@pytest.mark.parametrize('bias', [False, True])
def test_relational_attention(without_extensions, bias):
    torch.manual_seed(0)
    conv = RelationalAttention(8, heads=2, bias=bias)
    assert str(conv) == 'RelationalAttention(8, heads=2)'
    generator = torch.Generator().manual_seed(0)
    compare(conv, [3, 5, 1], 0.3, torch.float32, generator)


@torch.no_grad()
def test_against_the_formula():
    torch.manual_seed(0)
    conv = RelationalAttention(4, heads=2, qk_norm=True, gate=True).double()
    conv.q_norm.weight.uniform_(0.5, 2)
    conv.k_norm.weight.uniform_(0.5, 2)
    x = torch.randn(3, 4, dtype=torch.double)
    edges = [(0, 1), (2, 1), (1, 0)]
    q, k, v = (x @ w.t() for w in conv.lin_qkv.weight.chunk(3))

    def norm(vector, weight):
        return vector / (vector.square().mean() + 1e-6).sqrt() * weight

    heads = torch.zeros(3, 4, dtype=torch.double)
    for query in range(3):
        keys = [key for key, target in edges if target == query]
        for part in (slice(0, 2), slice(2, 4)):
            q_i = norm(q[query, part], conv.q_norm.weight)
            logits = [
                float(q_i @ norm(k[key, part], conv.k_norm.weight)) / math.sqrt(2)
                for key in keys
            ]
            total = sum(map(math.exp, logits))
            for key, logit in zip(keys, logits, strict=True):
                heads[query, part] += math.exp(logit) / total * v[key, part]
    heads *= 2 * (x @ conv.lin_gate.weight.t()).sigmoid()
    expected = heads @ conv.lin_out.weight.t()
    out = conv(x, torch.tensor(edges).t())
    assert torch.allclose(out, expected, atol=1e-12)


def test_bias_of_query_without_keys():
    conv = RelationalAttention(4, heads=2, bias=True)
    out = conv(torch.randn(2, 4), torch.tensor([[0], [0]]))
    assert torch.equal(out[1], conv.lin_out.bias)


def test_one_and_no_cells():
    conv = RelationalAttention(4, heads=2)
    x = torch.randn(1, 4)
    value = conv.lin_qkv(x)[:, 8:]
    loop = torch.tensor([[0], [0]])
    assert torch.allclose(conv(x, loop), conv.lin_out(value), atol=1e-6)
    full = DenseMask(None, None, (1, 1))
    assert torch.allclose(conv(x, full), conv.lin_out(value), atol=1e-6)
    nothing = torch.empty(2, 0, dtype=torch.long)
    assert conv(x, nothing).tolist() == [[0.0] * 4]

    x = torch.randn(0, 4, requires_grad=True)
    for mask in (nothing, DenseMask(None, None, (2, 0)), DenseMask(None, None, (0, 3))):
        out = conv(x, mask)
        assert out.size() == (0, 4)
        out.sum().backward()


def test_reset_parameters():
    conv = RelationalAttention(8, heads=2, qk_norm=True, gate=True, log_scale=True)
    names = [name for name, _ in conv.named_parameters()]
    assert names == [
        'scale',
        'lin_qkv.weight',
        'lin_out.weight',
        'lin_gate.weight',
        'q_norm.weight',
        'k_norm.weight',
    ]
    with torch.no_grad():
        for param in conv.parameters():
            param.fill_(7.0)
    conv.reset_parameters()
    assert not any((param == 7.0).any() for param in conv.parameters())


def test_explain():
    torch.manual_seed(0)
    conv = RelationalAttention(4, heads=2)
    explainer = Explainer(
        conv,
        algorithm=GNNExplainer(epochs=2),
        explanation_type='model',
        edge_mask_type='object',
        model_config={'mode': 'regression', 'task_level': 'node', 'return_type': 'raw'},
    )
    edge_index = torch.tensor([[0, 1, 2], [1, 1, 0]])
    explanation = explainer(torch.randn(3, 4), edge_index, index=1)
    assert explanation.edge_mask.size() == (3,)
    assert explanation.edge_mask[2] == 0
    assert explanation.edge_mask[:2].all()


def test_return_attention_weights():
    torch.manual_seed(0)
    conv = RelationalAttention(8, heads=2)
    x = torch.randn(4, 8)
    mask = torch.rand(1, 4, 4) < 0.6
    edge_index = DenseMask.from_batch(mask, None).to_edge_index()
    expected = conv(x, edge_index)
    for encoding in (edge_index, mask, DenseMask.from_batch(mask, None)):
        out, (edges, alpha) = conv(x, encoding, return_attention_weights=True)
        assert torch.allclose(out, expected, atol=1e-6)
        assert torch.equal(edges, edge_index)
        assert alpha.size() == (edges.size(1), 2)
        total = torch.zeros(4, 2).index_add(0, edges[1], alpha)
        assert torch.allclose(total[edges[1]], torch.ones(1), atol=1e-6)
    subset = torch.tensor([3, 1])
    out, (edges, part) = conv(x, mask, subset=subset, return_attention_weights=True)
    assert torch.allclose(out, expected[subset], atol=1e-6)
    inside = torch.isin(edge_index[1], subset)
    assert torch.equal(edges, edge_index[:, inside])
    assert torch.allclose(part, alpha[inside], atol=1e-6)


class TwoLayers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = torch.nn.ModuleList(
            [RelationalAttention(8, heads=2) for _ in range(2)]
        )
        self.lin = torch.nn.Linear(8, 1)

    def forward(self, x, edge_index):
        for conv in self.convs:
            x = x + conv(x, edge_index)
        return self.lin(x)


@pytest.mark.parametrize('algorithm', [GNNExplainer(epochs=2), AttentionExplainer()])
def test_explain_a_model_of_cells(algorithm):
    torch.manual_seed(0)
    cells = random_cells(num_cells=30)
    edge_index = to_edge_index(cells, 'feature')
    explainer = Explainer(
        TwoLayers(),
        algorithm=algorithm,
        explanation_type='model',
        edge_mask_type='object',
        model_config={'mode': 'regression', 'task_level': 'node', 'return_type': 'raw'},
    )
    explanation = explainer(torch.randn(30, 8), edge_index, index=0)
    assert explanation.edge_mask.size() == (edge_index.size(1),)
    assert explanation.edge_mask.any()


def test_bad_arguments():
    with pytest.raises(ValueError, match=r'heads=3, channels=8'):
        RelationalAttention(8, heads=3)
    with pytest.raises(ValueError, match=r'heads=0, channels=8'):
        RelationalAttention(8, heads=0)

    conv = RelationalAttention(8, heads=2)
    x = torch.randn(3, 8)
    edge_index = torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(ValueError, match=r"'x' must be of shape \[N, 8\] \(got \[3, 7"):
        conv(x[:, :7], edge_index)
    with pytest.raises(ValueError, match=r"'x' must be of shape .* \(got \[1, 3, 8\]"):
        conv(x.unsqueeze(0), edge_index)
    with pytest.raises(TypeError, match=r"'edge_index' must be .*\(got torch.int32\)"):
        conv(x, edge_index.int())
    with pytest.raises(TypeError, match=r"'edge_index' must be .*\(got list\)"):
        conv(x, edge_index.tolist())
    with pytest.raises(ValueError, match=r'of shape \[2, E\] \(got \[3, 2\]\)'):
        conv(x, torch.zeros(3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r'of shape \[2, E\] \(got \[2\]\)'):
        conv(x, edge_index[0])
    with pytest.raises(ValueError, match=r'lie in \[0, 3\).*\(got 1 to 3\)'):
        conv(x, edge_index + 1)
    with pytest.raises(ValueError, match=r'lie in \[0, 3\).*\(got -1 to 1\)'):
        conv(x, edge_index - 1)

    with pytest.raises(TypeError, match=r'layer.s type torch.float32 .*got torch.floa'):
        conv(x.double(), edge_index)
    with pytest.raises(ValueError, match=r"on the device of 'x' \(got meta and cpu\)"):
        conv(x, edge_index.to('meta'))

    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="the mask is over 4 cells .got 3 in 'x'.*"):
        conv(x, mask)
    with pytest.raises(ValueError, match=r'of shape \[B, S, S\] \(got \[4, 4\]\)'):
        conv(x, mask[0])
    with pytest.raises(ValueError, match="'batch' must hold the context of each"):
        conv(x, mask, torch.zeros(4, dtype=torch.long))
