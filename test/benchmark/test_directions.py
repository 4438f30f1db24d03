import pytest
import torch

from benchmark.checkpoint.directions import directions, participation_ratio
from torch_geometric_rfm.nn import RelationalTransformer


def test_participation_ratio():
    assert participation_ratio(torch.eye(6)) == pytest.approx(6.0)
    assert participation_ratio(torch.ones(5, 7)) == pytest.approx(1.0)
    two = torch.diag(torch.tensor([3.0, 4.0, 0.0]))
    assert participation_ratio(two) == pytest.approx((9 + 16) ** 2 / (81 + 256))


def test_parts_of_a_model():
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=16, num_layers=1, heads=2, ff_channels=16
    )
    found = directions(model)
    assert found['attention in'] > 8.0
    assert 'attention out' not in found  # It starts from zeros.
    with torch.no_grad():
        for attention in model.blocks[0].attentions.values():
            attention.lin_qkv.weight.fill_(1.0)
    assert directions(model)['attention in'] == pytest.approx(1.0)
