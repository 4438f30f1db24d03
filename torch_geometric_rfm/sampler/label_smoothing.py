import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.statistics import normalise
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.sampler.label_smoothing_kernel import (
    discounted_sums,
    last_known_labels,
)

HALF_LIVES = (np.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
r"""The half-lives to choose from, in labels."""

PRIORS = (10.0, 3.0, 1.0, 0.3, 0.1)
r"""The numbers of labels of the mean train label to choose from."""

_WITHOUT_EVIDENCE = 4.0, 1.0
_MAX_ROWS = 4096  # of train, drawn by a hash of their place, that both are chosen by
_HASH, _RANGE = 2_654_435_761, 1 << 32


class LabelSmoothing:
    r"""Exponential smoothing of the known labels of an entity, of numbers or booleans,
    with the discount that suits a task best.

    Of :math:`n` known labels :math:`y_1, \ldots, y_n`, the latest last, it is

    .. math::
        \hat{y} = \frac{\sum_i \lambda^{n - i} y_i}{\kappa + \sum_i \lambda^{n - i}},
        \qquad \lambda = 2^{-1 / h}

    in the unit of normalised labels, so that :math:`\kappa` labels of the mean train
    label stand beside them. The half-life :math:`h` and :math:`\kappa` are those of
    the least mean squared error on about 4,096 train rows, each of which sees what is
    known at its own time: where labels persist the latest counts most, where they are
    rare events all do. See `Gardner (1985), "Exponential Smoothing: The State of the
    Art" <https://doi.org/10.1002/for.3980040103>`_ for what it is worth as a forecast;
    there the first label is where it starts, here the mean train label.

    Args:
        store (TaskStore): The database with a task.
        half_life (float, optional): The number of labels after which one counts half;
            chosen if not given. (default: :obj:`None`)
        prior (float, optional): :math:`\kappa`, likewise. (default: :obj:`None`)

    Raises:
        ValueError: If labels are neither numbers nor booleans, or an argument is
            negative, or no half-life.

    Attributes:
        half_life (float): What it is, given or chosen.
        prior (float): Likewise.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store('regression')
        >>> smoothing = LabelSmoothing(store)
        >>> rows = store.rows_of_split('test')
        >>> entity, time = store.arrays.entity[rows], store.arrays.time[rows]
        >>> smoothing.values(entity, time).shape == (len(rows),)
        True
    """

    def __init__(
        self,
        store: TaskStore,
        half_life: float | None = None,
        prior: float | None = None,
    ) -> None:
        task, self._arrays = store.task, store.arrays
        if task.cell_type not in (CellType.NUMBER, CellType.BOOLEAN):
            raise ValueError(
                f"labels of task '{task.name}' must be numbers or booleans to be "
                f"smoothed (got '{task.cell_type.name.lower()}')"
            )
        label = task.frame['label'].to_numpy(dtype=np.float64)
        label = normalise(label, store.label_mean, store.label_std)
        self._label = label[self._arrays.own_row]
        if half_life is not None and not half_life > 0:
            raise ValueError(f"'half_life' must be positive (got {half_life})")
        if prior is not None and not prior >= 0:
            raise ValueError(f"'prior' must be at least 0 (got {prior})")
        half_lives = HALF_LIVES if half_life is None else (half_life,)
        priors = PRIORS if prior is None else (prior,)
        settings = [(h, p) for h in half_lives for p in priors]
        self.half_life, self.prior = (
            settings[0] if len(settings) == 1 else self._best(store, label, settings)
        )
        self._total, self._weight = self._sums(self.half_life)

    def values(
        self, rows: NDArray[np.int64], until: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        r"""The smoothed labels :obj:`[B]` of entities, NaN where none is known.

        Args:
            rows: :obj:`[B]` their rows in the store.
            until: :obj:`[B]` up to when each may look.
        """
        last = last_known_labels(self._arrays, rows, until)
        known = last[last >= 0]
        out = np.full(len(rows), np.nan)
        out[last >= 0] = self._total[known] / (self._weight[known] + self.prior)
        return out

    def _sums(self, half_life: float) -> tuple[NDArray[np.float64], ...]:
        start, discount = self._arrays.own_start, 2 ** (-1 / half_life)
        return discounted_sums(self._label, start, discount)

    def _best(
        self,
        store: TaskStore,
        label: NDArray[np.float64],
        settings: list[tuple[float, float]],
    ) -> tuple[float, float]:
        train = np.flatnonzero(store.split == 'train')
        place = np.arange(train.size)
        # Every so many of them could be all of one entity, or its first ones.
        train = train[place * _HASH % _RANGE * train.size < _RANGE * _MAX_ROWS]
        train = train[~np.isnan(label[train])]
        entity, time = self._arrays.entity[train], self._arrays.time[train]
        last = last_known_labels(self._arrays, entity, time)
        label, last = label[train][last >= 0], last[last >= 0]
        if last.size == 0:
            return _WITHOUT_EVIDENCE if _WITHOUT_EVIDENCE in settings else settings[0]
        sums = {h: [x[last] for x in self._sums(h)] for h, _ in settings}

        def error(setting: tuple[float, float]) -> float:
            total, weight = sums[setting[0]]
            miss = total / (weight + setting[1]) - label
            # Rounded, so that those which are equal are equal: the first is taken.
            return round(float((miss**2).mean()), 9)

        return min(settings, key=error)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(half_life={self.half_life:g}, '
            f'prior={self.prior:g})'
        )
