from typing import Any

import numpy as np
import pandas as pd

GAP = 'gap'
r"""Name of the split of rows whose label becomes known only after the next cutoff."""


def split_by_time(
    time: pd.Series, horizon: pd.Timedelta, val: pd.Timestamp, test: pd.Timestamp
) -> np.ndarray:
    r"""The split of each row by two cutoffs.

    Train rows are before the validation cutoff, val rows from there on and before
    the test cutoff, and the rest is test. Rows whose window reaches over the next
    cutoff are in none of them but in :obj:`"gap"`: they are neither trained on
    nor scored, and contexts show their labels once they are known.

    Args:
        time: The time of each row.
        horizon: When a label becomes known, counted from its time.
        val: The validation cutoff.
        test: The test cutoff.

    Example:
        >>> time = pd.Series(pd.to_datetime(['2020-01-01', '2020-01-30', '2020-02-01',
        ...                                  '2020-03-01']))
        >>> split_by_time(time, pd.Timedelta(days=7), *time[2:]).tolist()
        ['train', 'gap', 'val', 'test']
    """
    known = time + horizon
    chosen = [
        (time < val) & (known <= val),
        (time >= val) & (time < test) & (known <= test),
        time >= test,
    ]
    return np.select(chosen, ['train', 'val', 'test'], GAP).astype(object)


def check_splits(split: pd.Series, where: str) -> np.ndarray:
    r"""The splits that a column names.

    Raises:
        ValueError: If one is missing, or none is train.
    """
    if split.isna().any():
        row = int(np.flatnonzero(split.isna())[0])
        raise ValueError(f'{where} names no split in row {row} (got null)')
    if not (split == 'train').any():
        raise ValueError(
            f"{where} has no 'train' rows (got {sorted(map(str, split.unique()))})"
        )
    return split.astype(str).to_numpy(dtype=object)


def find_cutoffs(
    db: Any, val_timestamp: Any, test_timestamp: Any
) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    r"""The given cutoffs, else those of the dataset, else :obj:`None`.

    Raises:
        ValueError: If they are in the wrong order.
    """
    val = getattr(db, 'val_timestamp', None) if val_timestamp is None else val_timestamp
    test = (
        getattr(db, 'test_timestamp', None)
        if test_timestamp is None
        else test_timestamp
    )
    out = tuple(None if x is None else pd.Timestamp(x) for x in (val, test))
    if out[0] is not None and out[1] is not None and out[0] > out[1]:
        raise ValueError(
            f'val_timestamp must not be after test_timestamp (got {out[0]} and '
            f'{out[1]})'
        )
    return out[0], out[1]
