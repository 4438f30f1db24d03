import pytest
import torch
import torch.nn.functional as F

from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer, attention_masks
from torch_geometric_rfm.nn.models.key_map import to_official
from torch_geometric_rfm.testing import random_cells

KINDS = ['number', 'boolean', 'datetime', 'text', 'text', 'text']
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def small_v1(**overrides):
    sizes = {'channels': 64, 'num_layers': 12, 'ff_channels': 96, 'text_channels': 16}
    model = RelationalTransformer.rt_v1(**(sizes | overrides))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, param in model.named_parameters():
            noise = torch.randn(param.shape, generator=generator)
            param.copy_(1 + noise / 4 if 'norm' in name else noise / 4)
    return model.eval()


def restatement(weights, cells, heads=8, eps=2**-7):
    # The released model, stated anew from its own state dict: one context after
    # another, one cell after another, all pairs of cells, in float64.
    w = {key: value.double() for key, value in weights.items()}

    def norm(x, key):
        return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w[f'{key}.weight']

    def lin(x, key):
        y = x @ w[f'{key}.weight'].t()
        return y + w[f'{key}.bias'] if f'{key}.bias' in w else y

    def term(name, value):
        return norm(lin(value.double(), f'enc_dict.{name}'), f'norm_dict.{name}')

    outputs, loss, count = [], 0.0, 0
    batch = cells.batch_or_zeros
    links = set(map(tuple, cells.fkey_index.t().tolist()))
    num_layers = len({key.split('.')[1] for key in w if key.startswith('blocks')})
    for context in batch.unique():
        members = (batch == context).nonzero().view(-1).tolist()
        x = []
        for i in members:
            kind = KINDS[cells.cell_type[i]]
            if cells.mask[i]:
                value = w[f'mask_embs.{kind}']
            elif kind == 'text':
                value = term(kind, cells.text_embedding[cells.text_index[i]])
            else:
                value = term(kind, cells.value[i].view(1))
            x.append(value + term('col_name', cells.column_embedding[cells.column[i]]))
        x = torch.stack(x)
        row, column = cells.row[members].tolist(), cells.column[members].tolist()
        pairs = [(i, j) for i in range(len(row)) for j in range(len(row))]  # query, key
        masks = {
            'col': [column[i] == column[j] for i, j in pairs],
            'feat': [row[i] == row[j] or (row[i], row[j]) in links for i, j in pairs],
            'nbr': [(row[j], row[i]) in links for i, j in pairs],
            'full': [True for _ in pairs],
        }
        for layer in range(num_layers):
            for name, mask in masks.items():
                allowed = torch.tensor(mask).view(len(row), len(row))
                h = norm(x, f'blocks.{layer}.norms.{name}')
                key = f'blocks.{layer}.attns.{name}'
                q, k, v = (
                    lin(h, f'{key}.w{letter}').view(len(row), heads, -1)
                    for letter in 'qkv'
                )
                logits = torch.einsum('ihd,jhd->hij', q, k) / q.size(-1) ** 0.5
                weight = logits.exp() * allowed
                total = weight.sum(-1, keepdim=True)
                weight = torch.where(total > 0, weight / total, 0.0)
                out = torch.einsum('hij,jhd->ihd', weight, v).flatten(1)
                x = x + lin(out, f'{key}.wo')
            h = norm(x, f'blocks.{layer}.norms.ffn')
            key = f'blocks.{layer}.ffn'
            x = x + lin(F.silu(lin(h, f'{key}.w1')) * lin(h, f'{key}.w3'), f'{key}.w2')
        x = norm(x, 'norm_out')
        for position, i in enumerate(members):
            kind = KINDS[cells.cell_type[i]]
            y = torch.tensor(0.0).double()
            if kind != 'text':
                y = lin(x[position], f'dec_dict.{kind}')[0]
            outputs.append(y)
            if cells.mask[i] and kind != 'text':
                t = cells.target[i].double()
                error = (y - t).abs()
                huber = error**2 / 2 if error < 1 else error - 0.5
                loss += F.softplus(-y if t > 0 else y) if kind == 'boolean' else huber
                count += 1
    return torch.stack(outputs), loss / max(count, 1)


def check(model, cells):
    expected, expected_loss = restatement(to_official(model), cells)
    assert expected.abs().max() > 0.5
    for dtype, tolerance in TOLERANCE.items():
        model = model.to(dtype)
        for backend in ('dense', 'edge_index'):
            masks = attention_masks(cells, backend=backend)
            with torch.no_grad():
                output = model(cells, masks)
            assert (output - expected).abs().max() <= tolerance
            loss = MaskedCellLoss()(output, cells)
            assert (loss - expected_loss).abs() <= tolerance


def test_size():
    with torch.device('meta'):
        model = RelationalTransformer.rt_v1()
    assert sum(param.numel() for param in model.parameters()) == 22_336_131
    assert str(model) == (
        'RelationalTransformer(256, num_layers=12, heads=8, ff_channels=1024)'
    )
    assert model.norm.eps == model.blocks[0].norms['full'].eps == 0.0078125
    assert model.text_encoder == 'all-MiniLM-L12-v2'


def test_random_contexts_equal_the_restatement():
    cells = random_cells(3, [40, 23, 1], text_channels=16, seed=3)
    chosen = torch.arange(64) % 5 == 0
    cells.mask |= chosen & (cells.cell_type < 3)
    hidden = cells.mask & cells.target.isnan()
    cells.target[hidden] = (cells.value[hidden] > 0).float()
    assert cells.cell_type[cells.mask].unique().tolist() == [0, 1, 2]
    check(small_v1(), cells)


@pytest.mark.parametrize('task', ['driver-position', 'driver-dnf'])
def test_real_contexts_equal_the_restatement(real_contexts, task):
    cells = real_contexts(task, num_cells=100, rows=(0, 5000))
    assert cells.mask.sum() > 5
    check(small_v1(num_layers=4), cells)


@pytest.mark.parametrize('task', ['driver-position', 'driver-dnf'])
def test_official_parity(run_official, real_contexts, task):
    model, cells = small_v1(), real_contexts(task)
    expected, expected_loss = run_official('rt_v1', model, cells)
    with torch.no_grad():
        output = model(cells)
    assert expected.abs().max() > 0.5
    assert (output - expected).abs().max() <= 1e-4
    assert (MaskedCellLoss()(output, cells) - expected_loss).abs() <= 1e-4
