r"""Values of the rows of a table, by causes in it and in the tables before."""

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.datasets.synthetic.calendar import Calendar
from torch_geometric_rfm.datasets.synthetic.histories import Histories
from torch_geometric_rfm.datasets.synthetic.mechanism import draw_effects, standardise
from torch_geometric_rfm.datasets.synthetic.names import Names
from torch_geometric_rfm.datasets.synthetic.table import STATE_CHANNELS, TableRows
from torch_geometric_rfm.datasets.synthetic.value_columns import (
    QUANTISERS,
    draw_gaps,
    with_gaps,
)
from torch_geometric_rfm.datasets.synthetic.words import singular

Array = NDArray[np.float64]


class ValueDrawer:
    r"""Draws the state and the columns of a table.

    Args:
        rows: The table, with its keys and times.
        tables: The tables before it, with values.
        calendar: The span of time.
        names: The names of the database.
        rng: The source of randomness.
        max_missing: The largest share of missing values of a column.
    """

    def __init__(
        self,
        rows: TableRows,
        tables: list[TableRows],
        calendar: Calendar,
        names: Names,
        rng: np.random.Generator,
        max_missing: float,
    ) -> None:
        self.rows, self.names, self.rng = rows, names, rng
        self.calendar, self.max_missing = calendar, max_missing
        self.num_rows = rows.plan.num_rows
        self.at = rows.begin if rows.time is None else rows.time
        self.histories = None
        if rows.time is not None and rows.main_fkey is not None:
            self.histories = Histories(rows.parents[rows.main_fkey], rows.time)
        # Causes by the words that a column takes from its main cause, if any.
        self.hidden: list[Array] = []
        self.inherited: list[tuple[str, Array]] = []
        for fkey, table in rows.plan.parents.items():
            self._add_parent(tables[table], rows.parents[fkey])
        self.series = []
        if rows.time is not None:
            self.series = [calendar.series(rng)(rows.time) for _ in range(2)]

    def _add_parent(self, parent: TableRows, row: NDArray[np.int64]) -> None:
        null = row < 0
        self.hidden.append(parent.moving_state(row, self.at))
        for channel in range(1, STATE_CHANNELS):
            self.hidden.append(np.where(null, 0.0, parent.state[row, channel]))
        noun = singular(parent.plan.name)
        for column, signal in parent.signals.items():
            value = np.where(null, 0.0, signal[row])
            self.inherited.append((f'{noun} {column}', value))

    def draw(self) -> None:
        r"""Sets state, signals and columns of the table."""
        rng, rows = self.rng, self.rows
        causes = self._pick(self.hidden, 4) + self._pick(self.series, 1)
        causes += [value for _, value in self._pick(self.inherited, 3)]
        own = rng.normal(0, 1, (self.num_rows, 2))
        state = draw_effects(
            np.column_stack([own, *causes]),
            STATE_CHANNELS,
            noise=rng.uniform(0.1, 0.4),
            rng=rng,
        )
        rows.draw_state(state, rng)
        histories = int(rng.integers(0, 3)) if self.histories is not None else 0
        for number in range(rows.plan.num_columns):
            if number and histories and rows.plan.activity and rng.random() < 0.35:
                histories -= 1
                self._draw_history()
            else:
                self._draw_column()

    def _draw_column(self) -> None:
        rng = self.rng
        noise = float(rng.uniform(0.05, 0.6))
        inherited, word = self._pick(self.inherited, 2), ''
        if inherited and rng.random() < 0.15:
            # The value of the parent, as it was at the time.
            word, value = inherited[0]
            signal = draw_effects(value[:, None], 1, 0.5 * noise, rng)[:, 0]
            word = word.rpartition(' ')[0].split(' ')[0]
        else:
            state = list(self.rows.state.T)
            causes = self._pick(state, 2) + [value for _, value in inherited]
            causes += self._pick(list(self.rows.signals.values()), 2)
            causes += self._pick(self.hidden[::STATE_CHANNELS], 1)
            causes += self._pick(self.series, 1)
            signal = draw_effects(np.column_stack(causes), 1, noise, rng)[:, 0]
        kinds, shares = zip(*((k, share) for k, (_, share) in QUANTISERS.items()))
        kind = str(rng.choice(kinds, p=np.array(shares) / sum(shares)))
        quantise = QUANTISERS[kind][0]
        if kind == 'date':
            seconds = self.calendar.to_seconds(self.at)
            words, value = quantise(signal, rng, seconds, self.calendar.seconds)
        else:
            words, value = quantise(signal, rng)
        cause = self.rows.state[:, 1]
        missing = draw_gaps(signal, cause, self.max_missing, rng)
        self._add(f'{word} {words}', signal, with_gaps(value, missing))

    def _draw_history(self) -> None:
        assert self.histories is not None
        rng, table = self.rng, self.rows.plan.name
        numbers = [
            name
            for name, value in self.rows.columns.items()
            if value.dtype.kind in 'if' and not name.startswith(('previous', 'total'))
        ]
        kind = int(rng.integers(0, 4))
        if kind < 2 and numbers:
            of = str(rng.choice(numbers))
            of_value = self.rows.columns[of].astype(np.float64)
            if kind == 0:
                words, value = f'previous {of}', self.histories.previous(of_value)
            else:
                words, value = f'total {of} so far', self.histories.total(of_value)
        elif kind == 2:
            days = self.calendar.seconds / 86_400
            value = np.round(days * self.histories.gap(), 2)
            words = f'days since last {singular(table)}'
        else:
            value, words = self.histories.count(), f'number of earlier {table}'
        known = ~np.isnan(value)
        signal = np.zeros(self.num_rows)
        signal[known] = standardise(
            np.sign(value[known]) * np.log1p(np.abs(value[known]))
        )
        self._add(words, signal, value)

    def _add(self, words: str, signal: Array, value: object) -> None:
        keys = ['id', 'time', 'date', *self.rows.parents]
        name = self.names.unique([*keys, *self.rows.columns], words)
        self.rows.columns[name] = value
        self.rows.signals[name] = signal

    def _pick(self, causes: list, most: int) -> list:
        if not causes:
            return []
        count = min(len(causes), int(self.rng.integers(1, most + 1)))
        return [causes[i] for i in self.rng.permutation(len(causes))[:count]]
