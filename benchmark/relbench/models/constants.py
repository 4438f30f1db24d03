r"""Constants of the train labels."""

import numpy as np

from benchmark.relbench.inputs import Inputs
from benchmark.relbench.models.base import Model


class GlobalMean(Model):
    r"""The mean of the train labels: in binary tasks the share of true ones."""

    deterministic = True

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        labels = inputs.labels[inputs.rows('train')]
        self.constant = self.summary(labels[~np.isnan(labels)])

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        return np.full(len(inputs.rows(split)), self.constant)

    @property
    def num_parameters(self) -> int:
        return 1

    @staticmethod
    def summary(labels: np.ndarray) -> float:
        return float(np.mean(labels))


class GlobalMedian(GlobalMean):
    r"""The median of the train labels, which has the least absolute error."""

    kinds = ('regression',)

    @staticmethod
    def summary(labels: np.ndarray) -> float:
        return float(np.median(labels))


class GlobalMajority(GlobalMean):
    r"""The more frequent label, with certainty."""

    kinds = ('binary_classification',)

    @staticmethod
    def summary(labels: np.ndarray) -> float:
        return float(np.mean(labels) >= 0.5)
