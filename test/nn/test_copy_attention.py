import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.data.cell_data import concatenate
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.nn import CopyAttention, RelationalTransformer, to_official
from torch_geometric_rfm.nn.copy_attention import COPIED, HEAD_CHANNELS, copy_edges
from torch_geometric_rfm.testing import random_cells, toy_task_store


def make(seed, num_contexts=2, num_cells=14):
    cells = random_cells(num_contexts, num_cells, seed=seed)
    cells.text_embedding = cells.text_embedding.double()
    cells.value = cells.value.double()
    torch.manual_seed(seed)
    copy = CopyAttention(8, heads=2).double()
    for parameter in copy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    key = torch.randn(cells.mask.numel(), 8, dtype=torch.double)
    return cells, copy, key


def by_hand(copy, x, key, cells, index):
    values, embeddings = [], []
    strings = (CellType.CATEGORY, CellType.TEXT)
    kinds = ['string' if t in strings else t for t in cells.cell_type.tolist()]
    types, column = cells.cell_type.tolist(), cells.column.tolist()
    for m, i in enumerate(index.tolist()):
        string = types[i] >= CellType.CATEGORY
        found = [
            j
            for j in range(len(types))
            if j != i
            and not cells.mask[j]
            and cells.batch_or_zeros[j] == cells.batch_or_zeros[i]
            and (kinds[i] == kinds[j] == 'string' or column[i] == column[j])
        ]
        query = copy.lin_query(x[m]).view(copy.heads, HEAD_CHANNELS)
        total = 0.0
        for h in range(copy.heads):
            scores = [copy.nothing[h]]
            for j in found:
                k = copy.lin_key(copy.norm(key[j])).view(copy.heads, HEAD_CHANNELS)
                scores.append(query[h] @ k[h] / 4.0)
            weight = torch.stack(scores).softmax(0)[1:] / copy.heads
            for w, j in zip(weight, found):
                v = (
                    cells.text_embedding[cells.text_index[j]]
                    if string
                    else cells.value[j]
                )
                total = total + w * v
        if string:
            size = cells.text_embedding.size(1)
            out = total * copy.text_scale.exp() * size**0.5
            embeddings.append(out if found else cells.text_embedding.new_zeros(size))
            values.append(x.new_zeros(()))
        else:
            scale = copy.boolean_scale.exp() if types[i] == CellType.BOOLEAN else 1.0
            values.append(torch.as_tensor(total * scale, dtype=torch.double))
    return torch.stack(values), embeddings


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_is_what_the_formula_says(seed, hidden_only):
    cells, copy, key = make(seed)
    index = torch.arange(cells.mask.numel())
    if hidden_only:
        index = cells.mask.nonzero().view(-1)
    x = torch.randn(index.numel(), 8, dtype=torch.double)
    value, embedding = copy(x, key, cells, index)
    expected, embeddings = by_hand(copy, x, key, cells, index)
    torch.testing.assert_close(value, expected)
    assert embedding.size(0) == len(embeddings)
    for one, other in zip(embedding, embeddings):
        torch.testing.assert_close(one, other)


def test_what_is_hidden_is_never_copied():
    cells, copy, key = make(3, num_cells=30)
    cells.mask[::3] = True
    index = cells.mask.nonzero().view(-1)
    x = torch.randn(index.numel(), 8, dtype=torch.double)
    before = copy(x, key, cells, index)
    cells.value[cells.mask] = 1e6
    key[cells.mask] = 1e3
    for one, other in zip(before, copy(x, key, cells, index)):
        assert torch.equal(one, other)
    query, found = copy_edges(cells, index)
    assert query.numel() > 0
    assert not cells.mask[found].any()
    batch = cells.batch_or_zeros
    assert torch.equal(batch[found], batch[index[query]])


def test_starts_as_a_shrunk_mean_of_known_labels():
    store = toy_task_store('regression')
    rows = store.rows_of_split('val')[:8]
    loader = ContextLoader(
        store, input_nodes=rows, num_cells=48, batch_size=8, own_labels=0.5
    )
    cells = next(iter(loader))
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        text_channels=store.store.text_channels, copy_attention=COPIED
    )
    out = model(cells, hidden_only=True)
    for i in cells.mask.nonzero().view(-1).tolist():
        same = (cells.column == cells.column[i]) & (cells.batch == cells.batch[i])
        labels = cells.value[same & ~cells.mask]
        assert labels.numel() > 1
        expected = labels.sum() / (labels.numel() + 1)
        torch.testing.assert_close(out[i], expected)


@pytest.mark.parametrize('number_head', ['value', 'quantile', 'bins'])
def test_model_agrees_with_itself(number_head):
    torch.manual_seed(0)
    cells = random_cells(num_contexts=3, num_cells=24, text_channels=16)
    cells.column_quantiles = torch.randn(cells.column_embedding.size(0), 33).sort(1)[0]
    model = RelationalTransformer.small(
        channels=16,
        text_channels=16,
        zero_init=False,
        number_head=number_head,
        copy_attention=COPIED,
    )
    torch.nn.init.normal_(model.copy_attention.lin_query.weight)
    again = RelationalTransformer(**model.config)
    again.load_state_dict(model.state_dict())
    whole = model(cells)
    some = again(cells, hidden_only=True)
    every = model(cells, all_heads=True)
    torch.testing.assert_close(whole[cells.mask], some[cells.mask])
    torch.testing.assert_close(every.value, some[cells.mask])
    every.value.sum().backward()
    names = ('lin_query.weight', 'lin_key.weight', 'norm.weight', 'nothing')
    grads = [model.copy_attention.get_parameter(name).grad for name in names]
    if number_head == 'value':
        assert all(grad is not None and grad.any() for grad in grads)


def test_a_context_of_its_own_copies_what_it_did_in_a_batch():
    torch.manual_seed(1)
    cells = random_cells(num_contexts=2, num_cells=20, text_channels=16, seed=5)
    model = RelationalTransformer.small(
        channels=16, text_channels=16, zero_init=False, copy_attention=COPIED
    )
    other = random_cells(num_contexts=2, num_cells=20, text_channels=16, seed=6)
    alone, both = model(cells), model(concatenate([other, cells]))
    torch.testing.assert_close(alone, both[-40:], atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings('ignore:Mismatch dtype')
def test_half_precision():
    torch.manual_seed(0)
    cells = random_cells(num_contexts=2, num_cells=24, text_channels=16)
    model = RelationalTransformer.small(
        channels=16, text_channels=16, zero_init=False, copy_attention=COPIED
    )
    whole = model(cells, all_heads=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = model(cells, all_heads=True)
    torch.testing.assert_close(half.value.float(), whole.value, atol=0.1, rtol=0.1)
    copy = CopyAttention(16, heads=2)
    index = torch.arange(48)
    key = torch.randn(48, 16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, embedding = copy(key, key, cells, index)
    # Queries start at zero: means of what is there are not rounded.
    exact, exact_embedding = copy(key, key, cells, index)
    torch.testing.assert_close(value, exact)
    torch.testing.assert_close(embedding, exact_embedding)


def test_copies_what_it_is_told_to():
    cells, _, key = make(7, num_contexts=3, num_cells=40)
    index = torch.arange(cells.mask.numel())
    copy = CopyAttention(8, heads=2).double()
    some = CopyAttention(8, heads=2, types=['boolean', 'text']).double()
    some.load_state_dict(copy.state_dict())
    value, embedding = copy(key, key, cells, index)
    other, same = some(key, key, cells, index)
    boolean = cells.cell_type == CellType.BOOLEAN
    assert value[~boolean].any()
    assert not other[~boolean].any()
    assert value[boolean].any()
    torch.testing.assert_close(other[boolean], value[boolean])
    torch.testing.assert_close(same, embedding)
    assert str(some) == "CopyAttention(8, heads=2, types=['boolean', 'text'])"
    for types in (['number', 'date'], []):
        with pytest.raises(ValueError, match=r'must be some of .* \(got \['):
            CopyAttention(8, heads=2, types=types)


def test_cells_without_anything_to_copy():
    cells, copy, key = make(2, num_contexts=1, num_cells=6)
    cells.mask[:] = True
    index = torch.arange(6)
    value, embedding = copy(key, key, cells, index)
    assert not value.any()
    assert not embedding.any()
    value, embedding = copy(key[:0], key, cells, index[:0])
    assert value.size() == (0,)
    assert embedding.size() == (0, cells.text_embedding.size(1))


def test_no_hidden_value_is_seen():
    torch.manual_seed(0)
    cells = random_cells(num_contexts=3, num_cells=40, text_channels=16, seed=4)
    cells.mask[1::3] = True
    model = RelationalTransformer.small(
        channels=16, text_channels=16, zero_init=False, copy_attention=COPIED
    )
    torch.nn.init.normal_(model.copy_attention.lin_query.weight)
    before = model(cells, all_heads=True)
    other = cells.clone()
    hidden = cells.mask
    noise = torch.randn(cells.num_nodes)
    other.value = torch.where(hidden, noise, cells.value)
    other.relative_time = torch.where(hidden, noise, cells.relative_time)
    other.text_index = torch.where(hidden, 0, cells.text_index)
    other.target = torch.where(hidden, noise, cells.target)
    after = model(other, all_heads=True)
    assert torch.equal(before.value, after.value)
    assert torch.equal(before.embedding, after.embedding)


def test_every_parameter_trains():
    torch.manual_seed(0)
    cells = random_cells(num_contexts=3, num_cells=60, text_channels=16)
    cells.mask[::2] = True
    model = RelationalTransformer.small(
        channels=16, text_channels=16, zero_init=False, copy_attention=COPIED
    )
    torch.nn.init.normal_(model.copy_attention.lin_query.weight)
    out = model(cells, all_heads=True)
    (out.value.square().sum() + out.embedding.square().sum()).backward()
    for name, parameter in model.copy_attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_save_and_load(tmp_path):
    model = RelationalTransformer.small(channels=16, copy_attention=['number', 'text'])
    torch.nn.init.normal_(model.copy_attention.lin_query.weight)
    model.save_pretrained(tmp_path)
    loaded = RelationalTransformer.from_pretrained(tmp_path)
    assert loaded.config == model.config
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
    with pytest.raises(ValueError, match='no parameters for copy_attention'):
        to_official(RelationalTransformer(16, 1, 2, 16, copy_attention=['text']))
