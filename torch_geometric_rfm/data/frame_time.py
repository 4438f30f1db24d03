r"""Unix seconds and Frame's seven calendar fields, both ways."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_frame.data.stats import StatType

from torch_geometric_rfm.data.raw_table import MISSING_TIME


def seconds_to_frame(seconds: NDArray[np.int64]) -> Tensor:
    r"""Frame's timestamp tensor :obj:`[N, 7]` (year, month, day, weekday, hour,
    minute, second, months and days from zero), -1 where missing.
    """
    missing = seconds == MISSING_TIME
    index = pd.DatetimeIndex(np.where(missing, 0, seconds).astype('datetime64[s]'))
    fields = np.stack(
        [
            index.year,
            index.month - 1,
            index.day - 1,
            index.day_of_week,
            index.hour,
            index.minute,
            index.second,
        ],
        axis=1,
    ).astype(np.int64)
    fields[missing] = -1
    return torch.from_numpy(fields)


def frame_to_seconds(fields: Tensor) -> NDArray[np.int64]:
    r"""Unix seconds of Frame's timestamp tensor :obj:`[N, 7]`."""
    year, month, day, _, hour, minute, second = fields.numpy().T
    missing = year < 0
    months = (np.where(missing, 1970, year) - 1970) * 12 + np.where(missing, 0, month)
    days = months.astype('datetime64[M]').astype('datetime64[D]').astype(np.int64)
    seconds = (days + day) * 86_400 + hour * 3600 + minute * 60 + second
    seconds[missing] = MISSING_TIME
    return seconds


def timestamp_stats(seconds: NDArray[np.int64]) -> dict[StatType, Any]:
    r"""Frame's statistics of a timestamp column, of its known unix seconds."""
    # Frame's own function hands read-only arrays to torch, which warns.
    oldest_first = np.sort(seconds)
    if oldest_first.size == 0:
        oldest_first = np.array([MISSING_TIME])
    middle = oldest_first.size // 2
    oldest, median, newest = seconds_to_frame(oldest_first[[0, middle, -1]])
    return {
        StatType.YEAR_RANGE: [int(oldest[0]), int(newest[0])],
        StatType.NEWEST_TIME: newest,
        StatType.OLDEST_TIME: oldest,
        StatType.MEDIAN_TIME: median,
    }
