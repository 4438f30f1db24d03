r"""Unix seconds and Frame's seven calendar fields, both ways."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

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
