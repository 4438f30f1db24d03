r"""Recommendations made of counts of past links."""

import numpy as np

from benchmark.relbench.inputs import Inputs
from benchmark.relbench.models.base import Model
from torch_geometric_rfm.metrics.link_baselines import recommend_by_counts


class LinkCounts(Model):
    r"""The destinations that are most frequent by some count, see
    :func:`~torch_geometric_rfm.metrics.link_baselines.recommend_by_counts`.

    Args:
        name: The name of the count there.
    """

    kinds = ('recommendation',)
    deterministic = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        pass

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        rows = inputs.rows(split)
        until = inputs.visible_until(rows, protocol)
        return recommend_by_counts(inputs.store, rows, until)[self.name]
