import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.nn import number_quantiles, piecewise_linear, soft_bins
from torch_geometric_rfm.nn.number_head import LEVELS

rising = st.lists(
    st.floats(-5, 5, allow_subnormal=False).map(lambda x: round(x, 2)),
    min_size=2,
    max_size=9,
).map(sorted)


@settings(max_examples=100, deadline=None)
@given(rising, st.floats(-6, 6).map(lambda x: round(x, 3)))
def test_soft_bins_average_to_the_value(edges, value):
    edges = torch.tensor([edges], dtype=torch.double)
    weight = soft_bins(torch.tensor([value], dtype=torch.double), edges)
    assert weight.sum().item() == pytest.approx(1.0)
    assert int((weight > 1e-12).sum()) <= 2
    inside = min(max(value, edges[0, 0].item()), edges[0, -1].item())
    assert (weight * edges).sum().item() == pytest.approx(inside, abs=1e-9)


def test_piecewise_linear():
    edges = torch.tensor([[0.0, 1.0, 1.0, 1.0, 3.0]]).repeat(4, 1)
    value = torch.tensor([-1.0, 0.5, 1.0, 2.0])
    expected = [[0, 0, 0, 0], [0.5, 0, 0, 0], [1, 0.5, 0.5, 0], [1, 1, 1, 0.5]]
    assert piecewise_linear(value, edges).tolist() == expected


def test_quantiles_of_a_quantile_head():
    output = torch.randn(5, len(LEVELS), dtype=torch.double)
    levels = torch.tensor([0.05, 0.5, 0.925, 0.95], dtype=torch.double)
    out = number_quantiles(output, 'quantile', levels, output)
    known = output.sort(dim=1).values
    expected = [known[:, 0], known[:, 9], known[:, 17:].mean(dim=1), known[:, 18]]
    assert torch.allclose(out, torch.stack(expected, dim=1))
    for name, wrong in (('quantile', 0.01), ('value', 0.5)):
        with pytest.raises(ValueError, match=r'\(got '):
            number_quantiles(output, name, torch.tensor([wrong]), output)


def test_quantiles_of_a_binned_head_are_those_of_the_values():
    # The best logits for normal values are the logarithms of their mean weights.
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.normal(size=50_000))
    edges = values.quantile(torch.linspace(0, 1, 33, dtype=torch.double))
    weight = soft_bins(values, edges.expand(len(values), -1)).mean(dim=0)
    levels = torch.tensor([0.05, 0.25, 0.5, 0.95], dtype=torch.double)
    out = number_quantiles(
        weight.log().unsqueeze(0), 'bins', levels, edges.unsqueeze(0)
    )
    assert torch.allclose(out[0], values.quantile(levels), atol=0.02)
