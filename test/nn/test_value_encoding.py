import pandas as pd
import pytest
import torch

from torch_geometric_rfm.data import CellType
from torch_geometric_rfm.nn import CellEncoder
from torch_geometric_rfm.nn.value_encoding import DATETIME_ENCODINGS, encode_datetime
from torch_geometric_rfm.testing import random_cells


def encoded(time, encoding, seed_time='2020-02-29 06:30'):
    r"""The features of one cell that holds a time."""
    cells = random_cells(num_cells=1, text_channels=8)
    cells.value = cells.value.double()
    days = (pd.Timestamp(time) - pd.Timestamp(seed_time)) / pd.Timedelta(days=1)
    days = torch.tensor([days], dtype=torch.float64)
    cells.cell_type[:] = CellType.DATETIME
    cells.relative_time = days.sign() * days.abs().log1p()
    cells.seed_time = torch.tensor([int(pd.Timestamp(seed_time).timestamp())])
    return encode_datetime(cells, torch.tensor([0]), [encoding])[0]


@pytest.mark.parametrize(
    ('encoding', 'time', 'same', 'other'),
    [
        ('day', '2019-03-04 12:00', '2024-07-30 12:00', '2019-03-04 14:00'),
        ('week', '2024-01-01 00:00', '2024-03-11 00:00', '2024-01-02 00:00'),
        ('year', '2019-03-04 00:00', '2023-03-04 00:00', '2019-03-25 00:00'),
    ],
)
def test_phases_repeat(encoding, time, same, other):
    found = encoded(time, encoding)
    assert found.shape == (DATETIME_ENCODINGS[encoding],)
    # The calendar's year is up to a day off the mean one.
    limit = 0.2 if encoding == 'year' else 1e-6
    assert (found - encoded(same, encoding)).abs().max() < limit
    assert (found - encoded(other, encoding)).abs().max() > 0.5


def test_phases_are_harmonics_from_monday():
    found = encoded('2024-01-02 00:00', 'week')  # a Tuesday
    angle = 2 * torch.pi * torch.arange(1, 4, dtype=torch.float64) / 7
    torch.testing.assert_close(found, torch.cat([angle.sin(), angle.cos()]))


def test_default_encodings():
    assert CellEncoder(8, 8).datetime_encoding == ('global',)
    found = CellEncoder(8, 8, relative_time=True).datetime_encoding
    assert found == tuple(DATETIME_ENCODINGS)


def test_unknown_encoding():
    with pytest.raises(ValueError, match=r"'week', 'year', each once \(got \['month'"):
        CellEncoder(8, 8, datetime_encoding=['month'])
