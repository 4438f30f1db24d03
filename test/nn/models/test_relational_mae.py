import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.data.cell_data import UNDATED
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import (
    RelationalMAE,
    RelationalTransformer,
    attention_masks,
)
from torch_geometric_rfm.nn.copy_attention import COPIED
from torch_geometric_rfm.testing import random_cells, toy_task_store
from torch_geometric_rfm.transforms import MaskCells

SOME_SHOWN = (0.6, 0.0, 0.4)


def random_model(seed=0, **overrides):
    torch.manual_seed(seed)
    config = {'channels': 16, 'heads': 2, 'text_channels': 8, 'zero_init': False}
    encoder = RelationalTransformer.small(**(config | overrides))
    model = RelationalMAE(encoder, num_layers=2)
    with torch.no_grad():
        for name, param in model.named_parameters():
            noise = torch.randn(param.shape) / 4
            param.copy_(1 + noise if 'norm' in name else noise)
    return model.double()


def test_repr():
    model = RelationalMAE(RelationalTransformer.small(), num_layers=2)
    assert str(model) == (
        'RelationalMAE(RelationalTransformer(128, num_layers=2, heads=4, '
        'ff_channels=256), channels=64, num_layers=2, heads=4)'
    )
    with pytest.raises(ValueError, match=r"'num_layers' must be positive \(got 0\)"):
        RelationalMAE(RelationalTransformer.small(), num_layers=0)
    with pytest.raises(ValueError, match="'encoder' has a link_head"):
        RelationalMAE(RelationalTransformer.small(link_head=True))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([0.1, 0.5, 0.75, 0.95]),
    strategy=st.sampled_from(['uniform', 'column', 'row', 'neighborhood']),
    corruption=st.sampled_from([(1.0, 0.0, 0.0), SOME_SHOWN]),
    copy_attention=st.sampled_from([(), COPIED]),
)
def test_hidden_values_are_not_seen(seed, rate, strategy, corruption, copy_attention):
    cells = random_cells(num_contexts=3, num_cells=[40, 3, 25], seed=seed)
    transform = MaskCells(strategy, rate, seed=seed, corruption=corruption)
    cells = transform(cells)
    chosen = cells.predict_mask
    model = random_model(copy_attention=copy_attention)
    h, out = model.encode(cells), model(cells)
    other = cells.clone()
    noise = torch.randn(cells.num_nodes)
    other.value = torch.where(chosen, noise, cells.value)
    other.relative_time = torch.where(chosen, noise, cells.relative_time)
    other.text_index = torch.where(chosen, cells.text_index.flip(0), cells.text_index)
    other.target = torch.where(chosen, noise, cells.target)
    other.target_text_index = torch.where(chosen, 1, cells.target_text_index)
    rows = cells.row[chosen & (cells.cell_type == CellType.DATETIME)]
    dated = rows[cells.row_time[rows] != UNDATED]
    other.row_time[dated] += 12_345_678
    assert torch.equal(model.encode(other), h)
    assert torch.equal(model(other), out)
    # Whereas each that is visible counts.
    visible = (~chosen).nonzero().view(-1)
    kinds = cells.cell_type[visible]
    numbers = visible[kinds == CellType.NUMBER]
    if numbers.numel() > 0:
        other.value[numbers[0]] += 3.0
        assert not torch.equal(model.encode(other), h)


@pytest.mark.parametrize('relative_time', [False, True])
def test_encoder_equals_the_model_without_edges_from_hidden_cells(relative_time):
    model = random_model(relative_time=relative_time)
    cells = random_cells(num_contexts=3, num_cells=[80, 1, 50], seed=5)
    cells = MaskCells('uniform', 0.6, corruption=SOME_SHOWN)(cells)
    visible = ~cells.predict_mask
    masks = attention_masks(cells, backend='edge_index')
    masks = {
        name: edge_index[:, visible[edge_index].all(0)]
        for name, edge_index in masks.items()
    }
    expected = model.encoder.encode(cells, masks)[visible]
    assert 0 < expected.size(0) < cells.num_nodes
    assert torch.allclose(model.encode(cells), expected, rtol=0, atol=1e-12)


def test_encoder_equals_the_model_where_nothing_is_hidden():
    model = random_model()
    cells = random_cells(num_contexts=3, num_cells=[80, 1, 50])
    cells.mask[:] = False
    expected = model.encoder.encode(cells)
    assert torch.allclose(model.encode(cells), expected, rtol=0, atol=1e-12)
    assert model(cells).size() == (131,)
    assert not model(cells, hidden_only=True).any()


def test_contexts_alone_and_in_a_batch():
    # One of them shows nothing at all.
    model = random_model()
    cells = random_cells(num_contexts=4, num_cells=[60, 1, 70, 30], seed=2)
    cells = MaskCells('uniform', 0.6)(cells)
    cells.mask[cells.batch == 3] = True
    out = model(cells)
    alone = torch.cat([model(context) for context in cells.to_data_list()])
    assert torch.allclose(out, alone, rtol=0, atol=1e-12)
    hidden = model(cells, hidden_only=True)
    expected = out.masked_fill(~cells.mask, 0.0)
    assert torch.allclose(hidden, expected, rtol=0, atol=1e-12)
    heads = model(cells, all_heads=True)
    assert torch.equal(heads.index, cells.mask.nonzero().view(-1))
    assert torch.allclose(heads.value, out[cells.mask], rtol=0, atol=1e-12)
    assert heads.embedding.any()


def test_gradients_reach_all_parameters():
    model = random_model(copy_attention=COPIED).float()
    cells = random_cells(num_contexts=2, num_cells=200)
    cells = MaskCells('uniform', 0.5)(cells)
    MaskedCellLoss()(model(cells, all_heads=True), cells).backward()
    without = {
        name
        for name, param in model.named_parameters()
        if param.grad is None or not param.grad.any()
    }
    assert without == set()


def test_labels_are_not_seen():
    store = toy_task_store('regression')
    loader = ContextLoader(
        store, num_cells=60, batch_size=40, transform=MaskCells('row', 0.5)
    )
    cells = next(iter(loader))
    seed_cell = cells.ptr[:-1]
    assert cells.mask[seed_cell].all()
    torch.manual_seed(0)
    model = RelationalMAE(RelationalTransformer.small(channels=16, zero_init=False))
    out = model(cells, hidden_only=True)
    assert out[seed_cell].any()
    cells.target[seed_cell] = torch.randn(40)
    assert torch.equal(model(cells, hidden_only=True), out)


def test_learns_what_a_row_repeats():
    # Each row shows one of two equal numbers, and the other is to be found.
    def draw(seed):
        cells = random_cells(num_contexts=16, num_cells=16, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        cell = torch.arange(256)
        cells.row, cells.column = cell // 2, cell % 2
        cells.cell_type[:] = CellType.NUMBER
        truth = torch.randn(128, generator=generator).repeat_interleave(2)
        first = torch.rand(128, generator=generator) < 0.5
        hide = torch.stack([first, ~first], dim=1).view(-1)
        for key in ('row_time', 'row_table', 'row_index'):
            cells[key] = cells[key].new_zeros(128)
        cells.column_embedding = columns
        cells.fkey_index = cells.fkey_index[:, :0]
        cells.seed_row = torch.arange(0, 128, 8)
        cells.value = truth.masked_fill(hide, 0.0)
        cells.mask = hide
        cells.target = torch.where(hide, truth, torch.nan)
        return cells

    columns = torch.randn(2, 8)
    torch.manual_seed(0)
    config = {'channels': 32, 'heads': 2, 'num_layers': 1, 'text_channels': 8}
    model = RelationalMAE(RelationalTransformer.small(**config, attentions=['feature']))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    loss_fn = MaskedCellLoss(losses={'number': 'mse'})
    for step in range(100):
        cells = draw(step)
        loss = loss_fn(model(cells, hidden_only=True), cells)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        cells = draw(1_000_000)
        error = loss_fn(model(cells, hidden_only=True), cells)
        blind = loss_fn(torch.zeros(256), cells)
    assert float(error) < 0.1 * float(blind)
