import pytest
import torch
from torch_geometric.data import Batch

from torch_geometric_rfm.data import CellData, CellType
from torch_geometric_rfm.nn import RelationalTransformer, attention_masks
from torch_geometric_rfm.testing import random_cells


def randomise(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, param in model.named_parameters():
            noise = torch.randn(param.shape, generator=generator)
            param.copy_(1 + noise / 4 if 'norm' in name else noise / 4)
    return model.double().eval()


def test_small():
    model = RelationalTransformer.small()
    assert str(model) == (
        'RelationalTransformer(128, num_layers=2, heads=4, ff_channels=256)'
    )
    assert sum(param.numel() for param in model.parameters()) <= 1_000_000
    cells = random_cells(text_channels=384)
    assert not model(cells).any()
    assert RelationalTransformer.small(channels=64, zero_init=False)(cells).any()


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
        channels=16,
        text_channels=8,
        zero_init=False,
        attentions=['feature'],
        copy_attention=(),
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
        'qk_norm': False,
        'gate': False,
        'log_scale': False,
        'boolean_as_number': False,
        'text_encoder': None,
        'number_encoding': 'linear',
        'datetime_encoding': ('global', 'relative', 'day', 'week', 'year'),
        'number_head': 'value',
        'copy_attention': ('text',),
        'link_head': False,
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
