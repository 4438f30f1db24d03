import pytest
import torch

from torch_geometric_rfm.nn import HeteroRelationalBlock

KEY = ('orders', 'f2p_user', 'users')
ROWS = {'orders': 12, 'users': 7}
SIZES = {'orders': (12, 3, 8), 'users': (7, 8)}


def graph(seed=0, num_contexts=3):
    generator = torch.Generator().manual_seed(seed)
    x_dict = {
        name: torch.randn(size, generator=generator, dtype=torch.float64)
        for name, size in SIZES.items()
    }
    batch_dict = {
        name: torch.arange(rows)[torch.randperm(rows, generator=generator)]
        % num_contexts
        for name, rows in ROWS.items()
    }
    together = batch_dict['orders'].view(-1, 1) == batch_dict['users']
    keep = torch.rand(together.size(), generator=generator) < 0.5
    edge_index = (together & keep).nonzero().t()
    half = edge_index.size(1) // 2
    edge_index_dict = {
        KEY: edge_index[:, :half],
        ('users', 'rev_f2p_user', 'orders'): edge_index[:, half:].flip(0),
    }
    return x_dict, edge_index_dict, batch_dict


def take_context(x_dict, edge_index_dict, batch_dict, context):
    rows = {name: (b == context).nonzero().view(-1) for name, b in batch_dict.items()}
    local = {name: torch.full((n,), -1) for name, n in ROWS.items()}
    for name, index in rows.items():
        local[name][index] = torch.arange(len(index))
    edges = {}
    for edge_type, (source, target) in edge_index_dict.items():
        link = torch.stack([local[edge_type[0]][source], local[edge_type[2]][target]])
        edges[edge_type] = link[:, link[0] >= 0]
    return rows, {name: x[rows[name]] for name, x in x_dict.items()}, edges


def test_contexts_do_not_mix():
    torch.manual_seed(0)
    block = HeteroRelationalBlock(8, heads=2, ff_channels=16, zero_init=False).double()
    x_dict, edge_index_dict, batch_dict = graph()
    out = block(x_dict, edge_index_dict, batch_dict)
    for context in range(3):
        rows, x, edges = take_context(x_dict, edge_index_dict, batch_dict, context)
        assert all(edge_index.numel() > 0 for edge_index in edges.values())
        alone = block(x, edges)
        for name, index in rows.items():
            assert (out[name][index] - alone[name]).abs().max() < 1e-12

    # They would, were they one context:
    one = block(x_dict, edge_index_dict)
    assert (one['orders'] - out['orders']).abs().max() > 1e-3


def test_rows_may_come_in_any_order():
    torch.manual_seed(0)
    block = HeteroRelationalBlock(8, heads=2, ff_channels=16, zero_init=False).double()
    x_dict, edge_index_dict, batch_dict = graph()
    order = torch.randperm(ROWS['users'])
    place = order.argsort()
    permuted = {
        KEY: torch.stack([edge_index_dict[KEY][0], place[edge_index_dict[KEY][1]]]),
    }
    reverse = ('users', 'rev_f2p_user', 'orders')
    source, target = edge_index_dict[reverse]
    permuted[reverse] = torch.stack([place[source], target])
    out = block(
        {**x_dict, 'users': x_dict['users'][order]},
        permuted,
        {**batch_dict, 'users': batch_dict['users'][order]},
    )
    expected = block(x_dict, edge_index_dict, batch_dict)
    assert (out['orders'] - expected['orders']).abs().max() < 1e-12
    assert (out['users'] - expected['users'][order]).abs().max() < 1e-12


def test_gradients():
    torch.manual_seed(0)
    block = HeteroRelationalBlock(8, heads=2, ff_channels=16, zero_init=False).double()
    x_dict, edge_index_dict, batch_dict = graph()
    x_dict = {name: x.requires_grad_() for name, x in x_dict.items()}
    out = block(x_dict, edge_index_dict, batch_dict)
    out['users'][0].sum().backward()
    own = {name: batch == batch_dict['users'][0] for name, batch in batch_dict.items()}
    for name, x in x_dict.items():
        reached = x.grad.flatten(1).any(dim=1)
        assert torch.equal(reached, own[name])
    for parameter in block.parameters():
        assert parameter.grad.any()


def test_starts_as_the_identity():
    block = HeteroRelationalBlock(8, heads=2, ff_channels=16).double()
    assert str(block) == (
        'HeteroRelationalBlock(8, heads=2, ff_channels=16, '
        "attentions=['column', 'feature', 'neighbor', 'full'])"
    )
    x_dict, edge_index_dict, batch_dict = graph()
    out = block(x_dict, edge_index_dict, batch_dict)
    assert list(out) == list(x_dict)
    assert all(torch.equal(out[name], x) for name, x in x_dict.items())
    out['users'].square().sum().backward()
    weight = block.block.attentions['feature'].lin_out.weight
    assert weight.grad.any()


def test_arguments():
    block = HeteroRelationalBlock(
        8, 2, 16, attentions=['neighbor'], fkey_types=[], zero_init=False, rms_eps=0.5
    ).double()
    assert block.block.norms['neighbor'].eps == 0.5
    x_dict, edge_index_dict, batch_dict = graph()
    # Without foreign keys no row has neighbours: rows see themselves alone.
    x_dict = {name: x.requires_grad_() for name, x in x_dict.items()}
    out = block(x_dict, edge_index_dict, batch_dict)
    out['users'][3].sum().backward()
    assert x_dict['users'].grad.any(dim=1).nonzero().tolist() == [[3]]
    assert not x_dict['orders'].grad.any()

    with pytest.raises(ValueError, match='unknown attention masks'):
        HeteroRelationalBlock(8, 2, 16, attentions=['rows'])
    with pytest.raises(ValueError, match='must be of shape'):
        block({'orders': torch.randn(3)}, {})
