import pytest

from torch_geometric_rfm.train.schedule import Budget, warmup_cosine


def test_budget_by_steps():
    budget = Budget(num_steps=4)
    assert budget.progress == 0
    budget.step = 3
    assert budget.progress == 0.75
    budget.step = 9
    assert budget.progress == 1


@pytest.mark.parametrize('kwargs', [{}, {'num_steps': 0}, {'minutes': -1.0}])
def test_budget_refuses(kwargs):
    with pytest.raises(ValueError, match='num_steps|minutes'):
        Budget(**kwargs)


def test_warmup_cosine():
    assert warmup_cosine(0.025, warmup=0.05) == pytest.approx(0.5)
    assert warmup_cosine(0.05) == 1
    assert warmup_cosine(0.525) == pytest.approx(0.5)
    assert warmup_cosine(1.0) == 0
    assert 0 < warmup_cosine(0.0) < 1e-2
