from collections.abc import Sequence

import torch
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.column_quantiles import NUM_BINS
from torch_geometric_rfm.nn.soft_bins import piecewise_linear, soft_bins

NUMBER_ENCODINGS = {'linear': 1, 'quantile': NUM_BINS + 2, 'piecewise': NUM_BINS + 1}
r"""The encodings of numbers, and how wide they are."""

PERIODS = {'day': (1.0, 2), 'week': (7.0, 3), 'year': (365.2425, 8)}
r"""Periods of time, in days, and how many of their harmonics are looked at: enough to
tell weekdays, and times of the year that are three weeks apart."""

DATETIME_ENCODINGS = {
    'global': 1,
    'relative': 1,
    **{name: 2 * harmonics for name, (_, harmonics) in PERIODS.items()},
}
r"""The encodings of datetimes, and how wide they are."""

_DAY = 86_400.0
_MONDAY = 4.0  # The first one of unix time, in days.


def encode_number(cells: CellData, index: Tensor, encoding: str) -> Tensor:
    r"""Features of number cells.

    Args:
        cells (CellData): The contexts.
        index (Tensor): The cells :obj:`[M]`.
        encoding (str): :obj:`'linear'` for the normalised value alone;
            :obj:`'quantile'` adds the soft membership of the edges of the column's
            bins, :obj:`'piecewise'` the piecewise linear encoding in them.

    Returns:
        Tensor: Features :obj:`[M, 1]`, :obj:`[M, 34]` or :obj:`[M, 33]`.
    """
    value = cells.value[index]
    if encoding == 'linear':
        return value.unsqueeze(1)
    edges = edges_of(cells, index)
    encode = soft_bins if encoding == 'quantile' else piecewise_linear
    return torch.cat([value.unsqueeze(1), encode(value, edges)], dim=1)


def edges_of(cells: CellData, index: Tensor) -> Tensor:
    r"""The edges :obj:`[M, 33]` of the bins of some cells, of their columns.

    Raises:
        ValueError: If the contexts have none.
    """
    edges = cells.get('column_quantiles')
    if edges is None:
        raise ValueError(
            "the model puts numbers into bins, and needs 'column_quantiles' of the "
            'cells (got none); take them from a ContextLoader, or set '
            'cells.column_quantiles = column_quantiles(store)'
        )
    return edges[cells.column[index]].to(cells.value.dtype)


def encode_datetime(cells: CellData, index: Tensor, encodings: Sequence[str]) -> Tensor:
    r"""Features of datetime cells.

    Args:
        cells (CellData): The contexts.
        index (Tensor): The cells :obj:`[M]`.
        encodings (sequence of str): Of :obj:`'global'`, the normalised value,
            :obj:`'relative'`, the signed logarithm of the days from the seed time,
            and :obj:`'day'`, :obj:`'week'` and :obj:`'year'`, where in it the time
            lies: sine and cosine of its phase, in the day of two harmonics, in the
            week (from Monday) of three, in the year of eight, so that seasons with
            sharp edges can be told apart.

    Returns:
        Tensor: Features :obj:`[M, C]`, in the order of the encodings.
    """
    parts = {'global': cells.value, 'relative': cells.relative_time}
    out = [
        parts[name][index].unsqueeze(1)
        if name in parts
        else _periodic(cells, index, name).to(cells.value.dtype)
        for name in encodings
    ]
    return torch.cat(out, dim=1)


def _periodic(cells: CellData, index: Tensor, name: str) -> Tensor:
    relative = cells.relative_time[index].double()
    seed_time = cells.seed_time[cells.batch_or_zeros[index]].double()
    days = seed_time / _DAY + relative.sign() * relative.abs().expm1()
    period, harmonics = PERIODS[name]
    # Days count from a Monday, years from the first of January.
    phase = (days - _MONDAY * (name != 'year')) / period
    number = torch.arange(1, harmonics + 1, dtype=phase.dtype, device=phase.device)
    angle = 2 * torch.pi * phase.unsqueeze(1) * number  # [M, harmonics]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def check_encodings(number: str, datetime: Sequence[str]) -> None:
    r"""Checks the names of encodings.

    Raises:
        ValueError: If one is unknown, there is none, or one comes twice.
    """
    if number not in NUMBER_ENCODINGS:
        known = ', '.join(map(repr, NUMBER_ENCODINGS))
        raise ValueError(f"'number_encoding' must be one of {known} (got {number!r})")
    unknown = set(datetime) - set(DATETIME_ENCODINGS)
    if unknown or not datetime or len(set(datetime)) < len(datetime):
        known = ', '.join(map(repr, DATETIME_ENCODINGS))
        raise ValueError(
            f"'datetime_encoding' must hold some of {known}, each once (got "
            f"{list(datetime)}; 'periodic' has become 'day', 'week' and 'year')"
        )
