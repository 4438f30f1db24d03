r"""Whether a model looks at the future: take the future away, and look again."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from benchmark.relbench.inputs import PROTOCOLS, SCORED, Inputs
from benchmark.relbench.models.base import Model

TOLERANCE = 1e-4
WAYS = ('removed', 'disturbed')


class LeakError(ValueError):
    r"""A model knew what it could not know yet."""


def check_leaks(model: Model, inputs: Inputs, num_times: int = 2, seed: int = 0) -> int:
    r"""Compares predictions and features of rows with those from databases in which
    all rows and labels that they may not see are removed, and then disturbed.

    Args:
        model: The model, fitted.
        inputs: What it was fitted to.
        num_times: At most how many times are looked at, a split and protocol.
        seed: Seed of the choice of times and of the disturbance.

    Returns:
        How many rows were compared.

    Raises:
        LeakError: If a prediction or feature differs; it is named.
    """
    rng = np.random.default_rng(seed)
    compared = 0
    for split in SCORED:
        rows = inputs.rows(split)
        for protocol in PROTOCOLS:
            until = inputs.visible_until(rows, protocol)
            predictions = model.predict(inputs, split, protocol)
            times = np.unique(until)
            for moment in rng.permutation(times)[:num_times]:
                chosen = np.flatnonzero(until == moment)[:32]
                before = model.features(inputs, rows[chosen], until[chosen])
                for way in WAYS:
                    blind, own = without_future(
                        inputs, rows[chosen], int(moment), way, rng
                    )
                    where = f'{split}, {protocol}, future {way} at {moment}'
                    after = model.predict(blind, split, protocol)
                    _compare('prediction', predictions[chosen], after, where)
                    if before is not None:
                        features = model.features(blind, own, until[chosen])
                        for name in before:
                            _compare(name, before[name], features[name], where)
                compared += len(chosen)
    return compared


def _compare(what: str, before: Any, after: Any, where: str) -> None:
    before, after = (np.asarray(x, dtype=np.float64) for x in (before, after))
    before, after = (x.reshape(len(x), -1) for x in (before, after))
    scale = TOLERANCE * (1 + np.abs(np.nan_to_num(before)))
    differs = ~(np.abs(before - after) <= scale)
    differs &= ~(np.isnan(before) & np.isnan(after))
    if differs.any():
        row, column = np.argwhere(differs)[0]
        raise LeakError(
            f"'{what}' of {differs.any(axis=1).sum()} of {len(before)} rows depends on "
            f'what is not known yet ({where}; first {before[row, column]:g}, then '
            f'{after[row, column]:g})'
        )


def without_future(
    inputs: Inputs, rows: np.ndarray, until: int, way: str, rng: np.random.Generator
) -> tuple[Inputs, np.ndarray]:
    r"""Inputs in which nothing after a time stands, or stands as it was.

    Args:
        inputs: The database and the task.
        rows: Rows of the task table, which keep their split and come first in it.
        until: Up to when they may look, in unix seconds.
        way: :obj:`"removed"` or :obj:`"disturbed"`.
        rng: Draws the disturbance.

    Returns:
        The inputs, and where the rows stand in their task table.
    """
    db = copy.copy(inputs.db)
    db.table_dict = dict(inputs.db.table_dict)
    task_frame, own = _labels_without_future(inputs, rows, until, way, rng)
    entities = task_frame['entity'].to_numpy()
    for name, table in inputs.db.table_dict.items():
        if table.time_col is None:
            continue
        future = ~(_seconds(table.df[table.time_col]) <= until)
        frame = table.df.copy()
        if way == 'disturbed' or name == inputs.task.entity_table:
            frame = _disturb(frame, future, table, until, rng)
        if way == 'removed':
            keep = ~future
            if name == inputs.task.entity_table:
                keep[entities] = True  # Disturbed, but there: labels name them.
                task_frame['entity'] = (np.cumsum(keep) - 1)[entities]
            if not keep.any():  # A table must have a row.
                frame = _disturb(frame, future, table, until, rng)
                keep[0] = True
            frame = frame[keep]
        other = copy.copy(table)
        other.df = frame.reset_index(drop=True)
        db.table_dict[name] = other
    task = replace(inputs.task, frame=task_frame)
    return Inputs(inputs.database, db, task, inputs.text_encoder), own


def _labels_without_future(
    inputs: Inputs, rows: np.ndarray, until: int, way: str, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    frame = inputs.task.frame.copy()
    split = frame['split'].iloc[rows[0]]
    horizon = int(np.ceil(inputs.task.horizon.total_seconds()))
    known = (inputs.times < until) & (inputs.times + horizon <= until)
    own = np.zeros(len(frame), dtype=bool)
    own[rows] = True
    # What is known stays, but not among the rows that are predicted.
    frame.loc[(frame['split'] == split) & ~own, 'split'] = 'other'
    label = frame['label'].to_numpy(dtype=np.float64).copy()
    hidden = ~known
    if way == 'removed':
        label[hidden] = np.nan
    elif inputs.kind == 'multiclass_classification':
        label[hidden] = (label[hidden] + 1) % inputs.num_classes
    elif inputs.kind == 'binary_classification':
        label[hidden] = 1 - label[hidden]
    else:
        label[hidden] = rng.permutation(label[hidden]) * 3 + 7
    frame['label'] = label
    if 'destinations' in frame:
        none = np.zeros(0, dtype=np.int64)
        lists = frame['destinations'].tolist()
        frame['destinations'] = [none if h else d for d, h in zip(lists, hidden)]
    if way == 'removed':
        kept = known | own
        return frame[kept].reset_index(drop=True), np.flatnonzero(own[kept])
    return frame, np.flatnonzero(own)


def _disturb(
    frame: pd.DataFrame,
    future: np.ndarray,
    table: Any,
    until: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    # Values and keys of future rows change places; their times move on.
    frame = frame.copy()
    places = np.flatnonzero(future)
    for column in frame.columns:
        if column == table.pkey_col:
            continue
        if column == table.time_col:
            later = pd.Timedelta(days=int(rng.integers(1, 400)))
            frame[column] = frame[column].where(~future, frame[column] + later)
        else:
            values = frame[column].to_numpy(copy=True)
            values[places] = values[rng.permutation(places)]
            if pd.api.types.is_float_dtype(values.dtype):
                values[places] = values[places] * 3 + 7
            frame[column] = values
    return frame


def _seconds(series: pd.Series) -> np.ndarray:
    times = pd.to_datetime(series, utc=True)
    seconds = (times - pd.Timestamp(0, tz='UTC')) / pd.Timedelta(seconds=1)
    return np.floor(seconds.to_numpy(dtype=np.float64))
