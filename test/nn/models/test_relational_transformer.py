import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Batch

from torch_geometric_rfm.data import CellData, CellType
from torch_geometric_rfm.nn import RelationalTransformer, attention_masks
from torch_geometric_rfm.testing import random_cells

NAMES = ('column', 'feature', 'neighbor', 'full')


def randomise(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, param in model.named_parameters():
            noise = torch.randn(param.shape, generator=generator)
            param.copy_(1 + noise / 4 if 'norm' in name else noise / 4)
    return model.double().eval()


def dense_restatement(weights, cells, heads, eps, num_layers):
    # The released model, stated anew from its weights for all pairs of cells.
    def norm(x, name):
        return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weights[name]

    def lin(x, name):
        return F.linear(x, weights[f'{name}.weight'], weights.get(f'{name}.bias'))

    num_cells = cells.value.numel()
    kind = [min(int(i), 3) for i in cells.cell_type]
    names = ['number', 'boolean', 'datetime', 'text']
    x = []
    for i in range(num_cells):
        phrase = cells.column_embedding[cells.column[i]].double()
        term = norm(lin(phrase, 'encoder.lins.column'), 'encoder.norms.column.weight')
        name = names[kind[i]]
        if cells.mask[i]:
            term = term + weights['encoder.mask_embedding'][kind[i]]
        else:
            text = cells.text_embedding[cells.text_index[i]].double()
            src = text if name == 'text' else cells.value[i].double().view(1)
            src = lin(src, f'encoder.lins.{name}')
            term = term + norm(src, f'encoder.norms.{name}.weight')
        x.append(term)
    x = torch.stack(x)

    context, row, column = cells.batch_or_zeros, cells.row, cells.column
    parent = torch.zeros(cells.num_rows, cells.num_rows, dtype=torch.bool)
    parent[cells.fkey_index[0], cells.fkey_index[1]] = True
    parent = parent[row][:, row]  # [query, key]: the key's row is a parent
    same = context.unsqueeze(1) == context
    masks = {
        'column': same & (column.unsqueeze(1) == column),
        'feature': same & ((row.unsqueeze(1) == row) | parent),
        'neighbor': same & parent.t(),
        'full': same,
    }
    for i in range(num_layers):
        for name in NAMES:
            block = f'blocks.{i}.attentions.{name}'
            h = norm(x, f'blocks.{i}.norms.{name}.weight')
            q, k, v = lin(h, f'{block}.lin_qkv').chunk(3, dim=1)
            outs = []
            for q_h, k_h, v_h in zip(
                *(part.chunk(heads, dim=1) for part in (q, k, v)), strict=True
            ):
                logits = q_h @ k_h.t() / q_h.size(1) ** 0.5
                alpha = logits.masked_fill(~masks[name], -torch.inf).softmax(dim=1)
                outs.append(alpha.nan_to_num(0.0) @ v_h)
            x = x + lin(torch.cat(outs, dim=1), f'{block}.lin_out')
        h = norm(x, f'blocks.{i}.ff_norm.weight')
        gate, up = lin(h, f'blocks.{i}.w1'), lin(h, f'blocks.{i}.w3')
        x = x + lin(gate * gate.sigmoid() * up, f'blocks.{i}.w2')
    x = norm(x, 'norm.weight')
    out = torch.zeros(num_cells, dtype=torch.double)
    for i in range(num_cells):
        if kind[i] < 3:
            out[i] = lin(x[i], f'decoder.lins.{names[kind[i]]}')[0]
    return out


def test_rt_v1_size():
    with torch.device('meta'):
        model = RelationalTransformer.rt_v1()
    assert sum(param.numel() for param in model.parameters()) == 22_336_131
    assert str(model) == (
        'RelationalTransformer(256, num_layers=12, heads=8, ff_channels=1024)'
    )
    assert model.norm.eps == model.blocks[0].norms['full'].eps == 0.0078125


def test_small():
    model = RelationalTransformer.small()
    assert str(model) == (
        'RelationalTransformer(128, num_layers=2, heads=4, ff_channels=256)'
    )
    assert sum(param.numel() for param in model.parameters()) <= 1_000_000
    cells = random_cells(text_channels=384)
    assert not model(cells).any()
    assert RelationalTransformer.small(channels=64, zero_init=False)(cells).any()


def test_rt_v1_equals_its_dense_restatement():
    model = RelationalTransformer.rt_v1(
        channels=32, num_layers=2, ff_channels=48, text_channels=8
    )
    randomise(model)
    cells = random_cells(num_contexts=3, num_cells=[20, 13, 1], seed=3)
    cells.mask[::5] = True
    weights = dict(model.state_dict())
    expected = dense_restatement(weights, cells, heads=8, eps=2**-7, num_layers=2)
    assert expected.abs().max() > 0.1
    assert torch.allclose(model(cells), expected, rtol=0, atol=1e-10)
    masks = attention_masks(cells, backend='edge_index')
    assert torch.allclose(model(cells, masks), expected, rtol=0, atol=1e-10)


@pytest.fixture
def model():
    return randomise(RelationalTransformer.small(channels=16, text_channels=8))


def test_context_alone_and_in_a_batch(model):
    cells = random_cells(num_contexts=4, num_cells=[12, 30, 1, 17], seed=1)
    out = model(cells)
    contexts = cells.to_data_list()
    alone = torch.cat([model(context) for context in contexts])
    assert torch.allclose(out, alone, rtol=0, atol=1e-12)
    other = model(Batch.from_data_list(contexts[::-1]))
    expected = torch.cat([out[cells.batch == i] for i in (3, 2, 1, 0)])
    assert torch.allclose(other, expected, rtol=0, atol=1e-12)


def test_permuted_cells(model):
    cells = random_cells(num_contexts=2, num_cells=[20, 11])
    generator = torch.Generator().manual_seed(0)
    perm = torch.randperm(20, generator=generator)
    perm = torch.cat([perm, 20 + torch.randperm(11, generator=generator)])
    out = model(cells)
    keys = ('value', 'relative_time', 'text_index', 'cell_type', 'column', 'row')
    permuted = cells.clone()
    for key in (*keys, 'mask', 'target'):
        permuted[key] = cells[key][perm]
    assert torch.allclose(model(permuted), out[perm], rtol=0, atol=1e-12)


def test_hidden_only(model):
    cells = random_cells(num_contexts=2, num_cells=[20, 11])
    cells.mask[::3] = True
    out = model(cells)
    hidden = model(cells, hidden_only=True)
    expected = out.masked_fill(~cells.mask, 0.0)
    assert torch.allclose(hidden, expected, rtol=0, atol=1e-12)
    subset = torch.tensor([3, 30])
    h = model.encode(cells)
    assert h.size() == (31, 16)
    assert torch.allclose(model.encode(cells, subset=subset), h[subset], atol=1e-12)


def test_one_cell_and_no_cells(model):
    cells = random_cells(num_cells=1)
    assert model(cells).isfinite().all()
    for key in ('value', 'relative_time', 'text_index', 'cell_type', 'column'):
        cells[key] = cells[key][:0]
    for key in ('row', 'mask', 'target'):
        cells[key] = cells[key][:0]
    assert model(cells).size() == (0,)
    assert model(cells, hidden_only=True).size() == (0,)


def test_all_parameters_train():
    model = RelationalTransformer.small(
        channels=16, text_channels=8, zero_init=False, attentions=['feature']
    )
    cells = random_cells(num_cells=60)
    assert isinstance(cells, CellData)
    cells.mask[::2] = True
    model(cells).square().sum().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {'decoder.lins.text.weight', 'decoder.lins.text.bias'}
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(grad.any() for grad in grads)


def test_checkpoint():
    model = RelationalTransformer.small(
        channels=16, text_channels=8, zero_init=False, checkpoint=True
    )
    cells = random_cells(num_contexts=2, num_cells=[200, 150])
    grads = []
    for model.checkpoint in (True, False):
        model.zero_grad()
        model(cells).square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for left, right in zip(*grads, strict=True):
        assert torch.allclose(left, right, atol=1e-5)


@pytest.mark.parametrize('backend', ['dense', 'blocked', 'edge_index'])
def test_subset_of_every_encoding(model, backend):
    cells = random_cells(num_contexts=3, num_cells=[150, 1, 70])
    h = model.encode(cells)
    subset = torch.tensor([200, 3, 150, 0, 7])
    masks = attention_masks(cells, backend=backend)
    out = model.encode(cells, masks, subset)
    assert torch.allclose(out, h[subset], rtol=0, atol=1e-12)


def test_check_inputs(model):
    model = model.float()
    for contexts in (1, 2):
        cells = random_cells(contexts, num_cells=60)
        model(cells, check_inputs=True)
        number = (cells.cell_type == CellType.NUMBER) & ~cells.mask
        i = int(number.nonzero()[-1])
        cells.value[i] = torch.nan
        table = int(cells.row_table[cells.row[i]])
        with pytest.raises(
            ValueError,
            match=rf"'value' must be finite \(got nan in table 'table_{table}', "
            rf"column 'column_{int(cells.column[i]) % 12} of table_0', row \d+\)",
        ):
            model.encode(cells, check_inputs=True)
        cells.mask[i] = True  # Its value is not read.
        model(cells, check_inputs=True)
        cells.text_embedding[:] = torch.inf
        with pytest.raises(ValueError, match="'text_embedding' must be finite .*table"):
            model(cells, hidden_only=True, check_inputs=True)


def test_config():
    model = RelationalTransformer.small(attentions=['full'], text_channels=8)
    config = {
        'channels': 128,
        'num_layers': 2,
        'heads': 4,
        'ff_channels': 256,
        'text_channels': 8,
        'attentions': ('full',),
        'rms_eps': 1e-6,
        'relative_time': True,
        'zero_init': True,
    }
    assert model.config == config
    assert RelationalTransformer(**config).config == config


def test_save_and_load(model, tmp_path):
    model = model.float()
    model.save_pretrained(tmp_path)
    assert (tmp_path / 'model.safetensors').exists()
    loaded = RelationalTransformer.from_pretrained(tmp_path)
    assert loaded.config == model.config
    cells = random_cells(label_type=CellType.BOOLEAN)
    assert torch.equal(loaded(cells), model(cells))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"\(got \['rows'\], known are: column, feat"):
        RelationalTransformer.small(attentions=['rows'])
    with pytest.raises(ValueError, match=r"'num_layers' must be positive \(got 0\)"):
        RelationalTransformer.small(num_layers=0)
    with pytest.raises(ValueError, match='heads=5, channels=128'):
        RelationalTransformer.small(heads=5)
