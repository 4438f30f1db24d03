r"""Summaries of the labels of the same entity."""

from collections.abc import Callable

import numpy as np

from benchmark.relbench.inputs import Inputs
from benchmark.relbench.models.base import Model
from benchmark.relbench.models.constants import class_shares, one_hot
from torch_geometric_rfm.metrics import smoothed_labels
from torch_geometric_rfm.sampler import LabelSmoothing

SUMMARIES: dict[str, Callable[[np.ndarray], float]] = {
    'mean': lambda labels: float(np.mean(labels)),
    'median': lambda labels: float(np.median(labels)),
    'last-3': lambda labels: float(np.mean(labels[-3:])),
}


class EntityLabels(Model):
    r"""A summary of the labels of the entity that are known by then.

    Of a label of time :math:`t` a row that sees up to :math:`u` knows if
    :math:`t < u` and :math:`t + \text{horizon} \le u`. Entities without one get the
    share of true train labels, in regression the median of the train labels.

    Args:
        summary: :obj:`"mean"`, :obj:`"median"` or :obj:`"last-3"`, the mean of the
            last three.
        labels: :obj:`"train"` for labels of the train split alone, :obj:`"known"`
            for those of all splits.
    """

    deterministic = True

    def __init__(self, summary: str, labels: str) -> None:
        super().__init__()
        self.settings = {'summary': summary, 'labels': labels}
        self.kinds = Model.kinds if summary != 'median' else ('regression',)

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        labels = inputs.labels[inputs.rows('train')]
        binary = inputs.kind == 'binary_classification'
        self.constant = float((np.nanmean if binary else np.nanmedian)(labels))

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        rows = inputs.rows(split)
        until = inputs.visible_until(rows, protocol)
        summary = SUMMARIES[self.settings['summary']]
        return np.array(
            [
                summary(labels) if len(labels) else self.constant
                for labels in self._known_labels(inputs, rows, until)
            ]
        )

    def _known_labels(
        self, inputs: Inputs, rows: np.ndarray, until: np.ndarray
    ) -> list[np.ndarray]:
        entity = inputs.task.frame['entity'].to_numpy()
        times, labels = inputs.times, inputs.labels
        horizon = max(1, int(np.ceil(inputs.task.horizon.total_seconds())))
        own = ~np.isnan(labels)
        if self.settings['labels'] == 'train':
            own[:] &= (inputs.task.frame['split'] == 'train').to_numpy()
        own = np.flatnonzero(own)
        own = own[np.lexsort((times[own], entity[own]))]
        start = np.searchsorted(entity[own], entity[rows], side='left')
        end = np.searchsorted(entity[own], entity[rows], side='right')
        known_from = times[own] + horizon
        counts = [
            np.searchsorted(known_from[a:b], u, side='right')
            for a, b, u in zip(start, end, until)
        ]
        return [labels[own[a : a + n]] for a, n in zip(start, counts)]


class SmoothedLabels(Model):
    r"""The labels of the entity that are known by then, the older ones counting less,
    by as much as is best on train rows.
    """

    deterministic = True

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        smoothing = LabelSmoothing(inputs.store)
        self.chosen = smoothing.half_life, smoothing.prior
        self.settings = {'smoothing': repr(smoothing)}  # JSON has no infinity.

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        rows = inputs.rows(split)
        until = inputs.visible_until(rows, protocol)
        smoothing = LabelSmoothing(inputs.store, *self.chosen)
        return smoothed_labels(inputs.store, rows, until, smoothing)


class EntityMajority(EntityLabels):
    r"""The most frequent of the classes of the entity that are known by then, with
    certainty; of the train split where none is known, and of equal ones the later.
    """

    def __init__(self, labels: str) -> None:
        super().__init__('mean', labels)
        self.settings['summary'] = 'majority'
        self.kinds = ('multiclass_classification',)

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        self.constant = one_hot(class_shares(inputs, inputs.rows('train')))

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        rows = inputs.rows(split)
        out = np.tile(self.constant, (len(rows), 1))
        until = inputs.visible_until(rows, protocol)
        count = inputs.num_classes
        for i, labels in enumerate(self._known_labels(inputs, rows, until)):
            codes = labels[labels < count].astype(np.int64)
            if len(codes):
                out[i] = one_hot(np.bincount(codes, minlength=count))
        return out
