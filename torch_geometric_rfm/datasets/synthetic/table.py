r"""A table in the making: its place in the schema, its rows and their state."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STATE_CHANNELS = 4
_WAVES = 3


@dataclass
class TablePlan:
    r"""What is known of a table before it has rows.

    Args:
        name: Its name.
        parents: For each foreign key the table that it leads to, by number.
        activity: Whether its rows are happenings rather than things.
        dated: Whether its rows have times.
        num_rows: Number of rows.
        num_columns: Number of feature columns.
    """

    name: str
    parents: dict[str, int]
    activity: bool
    dated: bool
    num_rows: int
    num_columns: int


@dataclass
class TableRows:
    r"""Rows, their keys and what drives them.

    Args:
        plan: The table.
        parents: For each foreign key the row of the parent, -1 where null.
        time: :obj:`[rows]` places in :math:`[0, 1]`, rising; :obj:`None` if undated.
        community: :obj:`[rows]` places in :math:`[0, 1)`: rows that are near
            have the same parents.
        begin, end: :obj:`[rows]` when the row starts and ceases to be referenced.
        state: :obj:`[rows, STATE_CHANNELS]` what no column shows.
        waves: :obj:`[rows, _WAVES + 1]` phases and slope of how the state moves.
        signals: Standardised values of the columns, before they were rounded.
        columns: The columns, as the database holds them.
    """

    plan: TablePlan
    parents: dict[str, NDArray[np.int64]]
    time: Array | None
    community: Array
    begin: Array
    end: Array
    state: Array = field(default_factory=lambda: np.zeros((0, STATE_CHANNELS)))
    waves: Array = field(default_factory=lambda: np.zeros((0, _WAVES + 1)))
    signals: dict[str, Array] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def main_fkey(self) -> str | None:
        r"""The foreign key to the parent whose history the rows continue."""
        return next(iter(self.plan.parents), None)

    def draw_state(self, state: Array, rng: np.random.Generator) -> None:
        r"""Sets the hidden state, and how it moves with time."""
        self.state = state
        self.waves = rng.random((len(state), _WAVES + 1))

    def moving_state(self, rows: NDArray[np.int64], at: Array) -> Array:
        r"""The first channel of the state of some rows, at given times: near
        times have near values. Rows of -1 have 0.
        """
        waves = self.waves[rows]
        value = self.state[rows, 0] + 1.5 * (waves[:, _WAVES] - 0.5) * (at - 0.5)
        for k in range(_WAVES):
            value = value + np.cos(2 * np.pi * ((k + 1.3) * at + waves[:, k])) / (k + 2)
        return np.where(rows < 0, 0.0, value)
