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


class GlobalMajority(Model):
    r"""The most frequent label, with certainty."""

    kinds = ('binary_classification', 'multiclass_classification')
    deterministic = True

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        self.probabilities = one_hot(class_shares(inputs, inputs.rows('train')))

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        count = len(inputs.rows(split))
        every = np.tile(self.probabilities, (count, 1))
        return every if inputs.num_classes > 1 else every[:, 1]

    @property
    def num_parameters(self) -> int:
        return 1


class GlobalShares(GlobalMajority):
    r"""The shares of the classes among the train labels."""

    kinds = ('multiclass_classification',)

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        self.probabilities = class_shares(inputs, inputs.rows('train'))


def class_shares(inputs: Inputs, rows: np.ndarray) -> np.ndarray:
    r"""The shares of the classes among the labels of some rows."""
    label = inputs.labels[rows]
    codes = label[~np.isnan(label)].astype(np.int64)
    count = max(2, inputs.num_classes)
    shares = np.bincount(codes[codes < count], minlength=count)
    return shares / shares.sum()


def one_hot(shares: np.ndarray) -> np.ndarray:
    r"""Certainty of the class of the greatest share, of equal ones the later."""
    out = np.zeros(len(shares))
    out[len(shares) - 1 - int(np.argmax(shares[::-1]))] = 1.0
    return out
