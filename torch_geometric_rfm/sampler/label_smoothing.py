import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.sampler.label_smoothing_kernel import discounted_sums

HALF_LIVES = (np.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5)  # labels
PRIORS = (10.0, 3.0, 1.0, 0.3, 0.1)  # labels
_MAX_ROWS = 4096  # of train, evenly spread, that both are chosen by


class LabelSmoothing:
    r"""Exponential smoothing of the known labels of an entity, of numbers or booleans,
    with the discount that suits a task best.

    Of :math:`n` known labels :math:`y_1, \ldots, y_n`, the latest last, it is

    .. math::
        \hat{y} = \frac{\sum_i \lambda^{n - i} y_i}{\kappa + \sum_i \lambda^{n - i}},
        \qquad \lambda = 2^{-1 / h}

    in the unit of normalised labels, so that :math:`\kappa` labels of the mean train
    label stand beside them. The half-life :math:`h` and :math:`\kappa` are those of
    the least mean squared error on train rows, each of which sees what is known at its
    own time: a task whose labels persist counts the latest alone, a task of rare
    events all there are. See `Gardner, "Exponential Smoothing: The State of the Art"
    <https://doi.org/10.1002/for.3980040103>`_ for what it is worth as a forecast.

    Args:
        store (TaskStore): The database with a task.

    Attributes:
        half_life (float): The number of labels after which one counts half.
        prior (float): :math:`\kappa`.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store('regression')
        >>> smoothing = LabelSmoothing(store)
        >>> rows = store.rows_of_split('test')
        >>> entity, time = store.arrays.entity[rows], store.arrays.time[rows]
        >>> smoothing.values(entity, time).shape == (len(rows),)
        True
    """

    def __init__(self, store: TaskStore) -> None:
        self._arrays = store.arrays
        self._value = store.arrays.value.astype(np.float64)[store.arrays.own_row]
        train = np.flatnonzero(store.split == 'train')
        train = train[:: max(1, -(-train.size // _MAX_ROWS))]
        label = store.arrays.value[train].astype(np.float64)
        train, label = train[~np.isnan(label)], label[~np.isnan(label)]
        entity, time = store.arrays.entity[train], store.arrays.time[train]
        error: dict[tuple[float, float], float] = {}
        for half_life in HALF_LIVES:
            total, weight = self._sums(half_life, entity, time)
            known = weight > 0
            for prior in PRIORS:
                miss = total[known] / (weight[known] + prior) - label[known]
                # Rounded, so that those which are equal are equal: the first is taken.
                error[half_life, prior] = round(
                    float((miss**2).sum()) / max(label.size, 1), 9
                )
        self.half_life, self.prior = min(error, key=lambda key: error[key])

    def values(
        self, rows: NDArray[np.int64], until: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        r"""The smoothed labels :obj:`[B]` of entities, NaN where none is known.

        Args:
            rows: :obj:`[B]` their rows in the store.
            until: :obj:`[B]` up to when each may look.
        """
        total, weight = self._sums(self.half_life, rows, until)
        known = weight > 0
        out = np.full(len(rows), np.nan)
        out[known] = total[known] / (weight[known] + self.prior)
        return out

    def _sums(
        self, half_life: float, rows: NDArray[np.int64], until: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        discount = 2 ** (-1 / half_life)
        return discounted_sums(self._arrays, self._value, discount, rows, until)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(half_life={self.half_life:g}, '
            f'prior={self.prior:g})'
        )
