import copy

import pytest
import torch

from torch_geometric_rfm.train import load_checkpoint, pretrain
from torch_geometric_rfm.train.optimizer import make_optimizer

LR, DECAY = 0.01, 0.5


def two_layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)).double()


def train(model, optimizer, steps):
    inputs = torch.randn(steps, 8, 3, generator=torch.Generator().manual_seed(1))
    for batch in inputs.double():
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()


def by_hand(model, steps):
    # AdamW by its definition, with decay to where it began.
    start = {k: v.detach().clone() for k, v in model.named_parameters()}
    mean = {k: torch.zeros_like(v) for k, v in start.items()}
    square = {k: torch.zeros_like(v) for k, v in start.items()}
    inputs = torch.randn(steps, 8, 3, generator=torch.Generator().manual_seed(1))
    for t, batch in enumerate(inputs.double(), start=1):
        model.zero_grad()
        model(batch).square().mean().backward()
        with torch.no_grad():
            for name, weight in model.named_parameters():
                mean[name] = 0.9 * mean[name] + 0.1 * weight.grad
                square[name] = 0.95 * square[name] + 0.05 * weight.grad**2
                m, v = mean[name] / (1 - 0.9**t), square[name] / (1 - 0.95**t)
                decay = DECAY * (weight - start[name]) if weight.dim() > 1 else 0.0
                weight.sub_(LR * (decay + m / (v.sqrt() + 1e-8)))


def test_decay_to_the_start_by_hand():
    expected, model = two_layers(), two_layers()
    by_hand(expected, 7)
    train(model, make_optimizer(model, LR, DECAY, decay_to_start=True), 7)
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_without_it_weights_decay_to_zero():
    model = two_layers()
    train(model, make_optimizer(model, 1e-9, 1e8), 20)
    assert model[0].weight.norm() < 0.5 * two_layers()[0].weight.norm()


def test_the_start_is_part_of_the_state():
    model, other = two_layers(), two_layers()
    optimizer = make_optimizer(model, LR, DECAY, decay_to_start=True)
    train(model, optimizer, 3)
    with torch.no_grad():  # Made elsewhere, before the state is loaded.
        other[0].weight.add_(1.0)
    resumed = make_optimizer(other, LR, DECAY, decay_to_start=True)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    copied, third = copy.deepcopy((optimizer, model))
    for one, its in ((optimizer, model), (resumed, other), (copied, third)):
        train(its, one, 5)
    for one, two, three in zip(
        model.parameters(), other.parameters(), third.parameters(), strict=True
    ):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_what_has_no_gradient_stays_where_it_is():
    model = two_layers()
    optimizer = make_optimizer(model, LR, DECAY, decay_to_start=True)
    with torch.no_grad():
        model[1].weight.add_(1.0)
    before = model[1].weight.detach().clone()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    optimizer.step()
    assert torch.equal(model[1].weight, before)


@pytest.mark.parametrize('episodes', [{}, {'episode_steps': 2, 'episode_rate': 0.5}])
def test_a_resumed_run_decays_to_where_it_first_began(
    databases, config, tmp_path, stops_after, episodes
):
    def run(name, **changes):
        resume = changes.pop('resume', False)
        fields = {'weight_decay': 20.0, 'lr': 0.01, 'save_every': 3, 'num_evals': 0}
        options = fields | {'decay_to_start': True} | episodes | changes
        return pretrain(
            databases,
            tmp_path / name,
            config(8, **options),
            init=init,
            resume=resume,
            show_progress=False,
        )

    init = None
    run('first')
    init = tmp_path / 'first'

    straight = run('straight', model={})
    with stops_after(3):
        run('cut', model={})
    assert run('cut', model={}, resume=True).losses == straight.losses
    assert run('to zero', model={}, decay_to_start=False).losses != straight.losses
    # So strong a decay leaves the matrices where they were before, whatever is learned.
    before, after = (load_checkpoint(tmp_path / n)[0] for n in ('first', 'straight'))
    w, v = (model.blocks[0].w1.weight for model in (before, after))
    assert (v - w).norm() < 0.5 * w.norm()


def test_a_decay_of_nothing_is_refused(config):
    with pytest.raises(ValueError, match="'decay_to_start' needs a decay"):
        config(1, decay_to_start=True, weight_decay=0.0)
