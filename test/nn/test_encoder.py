import math

import numpy as np
import pytest
import torch

from torch_geometric_rfm.data.cell_data import UNDATED
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.nn import CellEncoder
from torch_geometric_rfm.testing import random_cells

NAMES = ['number', 'boolean', 'datetime', 'text', 'text', 'text']


def rms_norm(x, norm):
    return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight


def randomise(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in module.parameters():
            param.copy_(torch.randn(param.shape, generator=generator) / 2)
    return module


def age_of(cells, row):
    members = (cells.row == row).nonzero().view(-1).tolist()
    gives_date_away = any(cells.mask[i] and cells.cell_type[i] == 2 for i in members)
    if gives_date_away or int(cells.row_time[row]) == UNDATED:
        return 0.0
    seed_time = int(cells.seed_time[cells.batch_or_zeros[members[0]]])
    days = (int(cells.row_time[row]) - seed_time) / 86_400
    return float(np.float32(math.copysign(math.log1p(abs(days)), days)))


def phases_of(cells, i):
    relative = float(cells.relative_time[i])
    days = math.copysign(math.expm1(abs(relative)), relative)
    days += int(cells.seed_time[cells.batch_or_zeros[i]]) / 86_400
    for period, start, harmonics in ((1, 4, 2), (7, 4, 3), (365.2425, 0, 8)):
        angle = 2 * math.pi * (days - start) / period
        for wave in (math.sin, math.cos):
            for number in range(1, harmonics + 1):
                yield torch.tensor(wave(number * angle), dtype=torch.float64)


def cell_by_cell(encoder, cells):
    out = []
    for i in range(cells.value.numel()):
        phrase = cells.column_embedding[cells.column[i]].double()
        x = rms_norm(encoder.lins['column'](phrase), encoder.norms['column'])
        kind = int(cells.cell_type[i])
        name = NAMES[kind]
        if cells.mask[i]:
            x = x + encoder.mask_embedding[min(kind, 3)]
        else:
            value = [cells.value[i]]
            if name == 'datetime' and encoder.relative_time:
                value += [cells.relative_time[i], *phases_of(cells, i)]
            value = torch.stack([v.double() for v in value])
            if name == 'text':
                value = cells.text_embedding[cells.text_index[i]].double()
            x = x + rms_norm(encoder.lins[name](value), encoder.norms[name])
        if encoder.relative_time:
            age = torch.tensor([age_of(cells, int(cells.row[i]))]).double()
            x = x + rms_norm(encoder.lins['age'](age), encoder.norms['age'])
        out.append(x)
    return torch.stack(out)


@pytest.mark.parametrize('relative_time', [False, True])
def test_cell_encoder(relative_time):
    encoder = CellEncoder(16, 8, rms_eps=2**-7, relative_time=relative_time)
    assert str(encoder) == 'CellEncoder(16, text_channels=8)'
    randomise(encoder.double())
    cells = random_cells(num_contexts=2, num_cells=[40, 30])
    cells.value = cells.value.double()  # Features have its precision.
    cells.mask[::4] = True
    cells.text_index[cells.mask] = -1
    hidden = cells.cell_type[cells.mask].unique()
    assert hidden.numel() == cells.cell_type[~cells.mask].unique().numel() == 6

    out = encoder(cells)
    assert torch.allclose(out, cell_by_cell(encoder, cells), atol=1e-8)
    out.square().sum().backward()
    assert all(param.grad.any() for param in encoder.parameters())


def test_boolean_as_number():
    encoder = randomise(CellEncoder(16, 8, boolean_as_number=True).double())
    assert 'boolean' not in encoder.lins
    assert encoder.mask_embedding.size() == (3, 16)
    cells = random_cells(num_cells=60)
    cells.mask[::3] = True
    boolean = cells.cell_type == CellType.BOOLEAN
    out = encoder(cells)
    for mask in (True, False):
        assert (boolean & (cells.mask == mask)).any()
    # The other types keep their encoders, though their rows have moved up:
    four = randomise(CellEncoder(16, 8).double())
    for name in encoder.lins:
        four.lins[name].load_state_dict(encoder.lins[name].state_dict())
        four.norms[name].load_state_dict(encoder.norms[name].state_dict())
    with torch.no_grad():
        four.mask_embedding[[0, 2, 3]] = encoder.mask_embedding
    cells.cell_type = cells.cell_type.masked_fill(boolean, CellType.NUMBER)
    assert torch.equal(out, four(cells))


def test_hidden_values_do_not_matter():
    encoder = CellEncoder(16, 8, relative_time=True)
    cells = random_cells(num_cells=40)
    cells.mask[::2] = True
    expected = encoder(cells)
    cells.value[cells.mask] = 7.0
    cells.relative_time[cells.mask] = 7.0
    cells.text_index[cells.mask] = 1_000
    assert torch.equal(encoder(cells), expected)


def test_without_strings():
    cells = random_cells(num_cells=10, num_columns=3)
    cells.text_embedding = cells.text_embedding[:0]
    assert CellEncoder(16, 8)(cells).isfinite().all()


def test_reset_parameters():
    encoder = CellEncoder(16, 8)
    with torch.no_grad():
        for param in encoder.parameters():
            param.fill_(7.0)
    encoder.reset_parameters()
    assert not any((param == 7.0).any() for param in encoder.parameters())


def test_bad_cells():
    encoder = CellEncoder(16, 9)
    cells = random_cells(text_channels=8)
    with pytest.raises(ValueError, match="'column_embedding' must have 9 .*got 8"):
        encoder(cells)
    cells.column_embedding = torch.zeros(12, 9)
    with pytest.raises(ValueError, match="'text_embedding' must have 9 .*got 8"):
        encoder(cells)

    cells = random_cells(label_type=CellType.TEXT)
    cells.mask[0] = False
    cells.text_index[0] = -1
    with pytest.raises(ValueError, match="'text_index' must not be negative"):
        CellEncoder(16, 8)(cells)
