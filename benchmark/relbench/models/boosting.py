r"""Gradient boosting of a feature table, by LightGBM."""

import os
from typing import Any

import numpy as np

from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN, score

ROUNDS = 2000
PATIENCE = 100
COMMON = {
    'bagging_fraction': 0.7,
    'bagging_freq': 1,
    'lambda_l2': 10.0,
    'max_bin': 127,
    'verbose': -1,
}
GRID: tuple[dict[str, Any], ...] = (
    {
        'num_leaves': 16,
        'learning_rate': 0.03,
        'feature_fraction': 0.1,
        'min_data_in_leaf': 20,
    },
    {
        'num_leaves': 8,
        'learning_rate': 0.05,
        'feature_fraction': 0.3,
        'min_data_in_leaf': 100,
        'extra_trees': True,
    },
    {
        'num_leaves': 8,
        'learning_rate': 0.03,
        'feature_fraction': 0.2,
        'min_data_in_leaf': 40,
    },
    {
        'num_leaves': 4,
        'learning_rate': 0.05,
        'feature_fraction': 0.2,
        'min_data_in_leaf': 40,
    },
)
r"""What is tried, in this order."""

OBJECTIVES = {
    'binary_classification': ('binary',),
    'multiclass_classification': ('multiclass',),
    'regression': ('regression_l1', 'huber'),
}
STOPS = {
    'binary_classification': 'auc',
    'multiclass_classification': 'multi_logloss',
    'regression': 'l1',
}
MOST_VALUES = 40_000_000
r"""How many values of features are gone through, a setting at least: what is tried
depends on the size of the table alone, and never on the speed of a machine."""


def settings_of(kind: str, num_values: int, num_classes: int = 1) -> list[dict]:
    r"""The settings to try on a table of a number of values."""
    count = MOST_VALUES // max(1, num_values * num_classes)
    every = [
        {**COMMON, **settings, 'objective': objective}
        for objective in OBJECTIVES[kind]
        for settings in GRID
    ]
    return every[: max(1, count)]


class Boosting:
    r"""Trees in the settings of a small grid, each stopped early on val, and the mean
    of as many of the best as val prefers.

    Args:
        kind: The type of the task.
        seed: Seed of the draws of rows and features.
        num_classes: How many classes a multiclass task has.
    """

    def __init__(self, kind: str, seed: int, num_classes: int = 1) -> None:
        self.kind, self.seed, self.num_classes = kind, seed, num_classes
        self.boosters: list[Any] = []
        self.settings: dict[str, Any] = {}

    def fit(
        self,
        x: np.ndarray,
        label: np.ndarray,
        val_x: np.ndarray,
        val_label: np.ndarray,
        train_std: float,
    ) -> None:
        r"""Tries the grid; what scores best on val is kept."""
        metric = MAIN[self.kind]
        sign = -1 if metric in LESS_IS_BETTER else 1

        def value_of(prediction: np.ndarray) -> float:
            return score(self.kind, val_label, prediction, train_std)[metric]

        tried: list[tuple[float, dict[str, Any], Any, np.ndarray]] = []
        for given in settings_of(self.kind, x.size, self.num_classes):
            # A tree draws ten features at least.
            fraction = max(given['feature_fraction'], 10 / x.shape[1])
            given['feature_fraction'] = min(1.0, fraction)
            booster = self._train(given, x, label, val_x, val_label)
            prediction = booster.predict(val_x)
            value = value_of(prediction)
            given |= {'trees': booster.best_iteration, f'val_{metric}': value}
            tried.append((sign * value, given, booster, prediction))
        tried.sort(key=lambda one: -one[0])
        means = [
            value_of(np.mean([one[3] for one in tried[:count]], axis=0))
            for count in range(1, len(tried) + 1)
        ]
        count = 1 + int(np.argmax(sign * np.array(means)))
        self.boosters = [one[2] for one in tried[:count]]
        self.settings = {
            'patience': PATIENCE,
            'most_trees': ROUNDS,
            'averaged': count,
            'tried': [one[1] for one in tried],
        }

    def _train(self, settings: dict, x: Any, label: Any, val_x: Any, val: Any) -> Any:
        import lightgbm

        given = {**settings, 'metric': STOPS[self.kind], 'seed': self.seed}
        given |= {'num_threads': len(os.sched_getaffinity(0))}
        # The same trees for any number of threads:
        given |= {'deterministic': True, 'force_col_wise': True}
        if self.num_classes > 1:
            given['num_class'] = self.num_classes
            known = val < self.num_classes  # Of the others there is no probability.
            val_x, val = val_x[known], val[known]
        data = lightgbm.Dataset(x, label, params=given)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        return lightgbm.train(
            given,
            data,
            ROUNDS,
            valid_sets=[data.create_valid(val_x, val)],
            callbacks=[stop],
        )

    def predict(self, x: np.ndarray) -> np.ndarray:
        r"""Probabilities of true or of each class, or numbers."""
        outputs = [booster.predict(x) for booster in self.boosters]
        return np.mean(outputs, axis=0, dtype=np.float64)

    @property
    def num_parameters(self) -> int:
        r"""Splits and leaves of the trees that are used."""
        models = (
            booster.dump_model(num_iteration=booster.best_iteration)
            for booster in self.boosters
        )
        trees = [tree for model in models for tree in model['tree_info']]
        return sum(2 * tree['num_leaves'] - 1 for tree in trees)
