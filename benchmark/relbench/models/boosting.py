r"""Gradient boosting of a feature table, by LightGBM."""

import os
import time
from typing import Any

import numpy as np

from benchmark.relbench.metrics import LESS_IS_BETTER, MAIN, score

ROUNDS = 2000
PATIENCE = 100
COMMON = {'bagging_freq': 1, 'max_bin': 127, 'verbose': -1}
GRID: tuple[dict[str, Any], ...] = (
    {
        'num_leaves': 8,
        'learning_rate': 0.03,
        'feature_fraction': 0.2,
        'bagging_fraction': 0.7,
        'min_data_in_leaf': 40,
        'lambda_l2': 10.0,
    },
    {
        'num_leaves': 4,
        'learning_rate': 0.05,
        'feature_fraction': 0.2,
        'bagging_fraction': 0.7,
        'min_data_in_leaf': 40,
        'lambda_l2': 10.0,
    },
    {
        'num_leaves': 16,
        'learning_rate': 0.03,
        'feature_fraction': 0.1,
        'bagging_fraction': 0.7,
        'min_data_in_leaf': 20,
        'lambda_l2': 10.0,
    },
    {
        'num_leaves': 8,
        'learning_rate': 0.05,
        'feature_fraction': 0.3,
        'bagging_fraction': 0.7,
        'min_data_in_leaf': 100,
        'lambda_l2': 10.0,
        'extra_trees': True,
    },
)
OBJECTIVES = {
    'binary_classification': ('binary',),
    'regression': ('regression_l1', 'huber'),
}


class Boosting:
    r"""Trees in the settings of a small grid, each stopped early on val, and the mean
    of as many of the best as val prefers.

    Args:
        kind: The type of the task.
        seed: Seed of the draws of rows and features.
        seconds: After this time no further setting is tried.
    """

    def __init__(self, kind: str, seed: int, seconds: float) -> None:
        self.kind, self.seed, self.seconds = kind, seed, seconds
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
        start = time.monotonic()
        metric = MAIN[self.kind]
        sign = -1 if metric in LESS_IS_BETTER else 1

        def value_of(prediction: np.ndarray) -> float:
            return score(self.kind, val_label, prediction, train_std)[metric]

        tried: list[tuple[float, dict[str, Any], Any, np.ndarray]] = []
        for settings in GRID:
            for objective in OBJECTIVES[self.kind]:
                if tried and time.monotonic() - start > self.seconds:
                    break
                given = {**COMMON, **settings, 'objective': objective}
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

        metric = 'auc' if self.kind == 'binary_classification' else 'l1'
        threads = len(os.sched_getaffinity(0))
        given = {**settings, 'metric': metric, 'seed': self.seed}
        given |= {'num_threads': threads, 'deterministic': True}
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
        r"""Probabilities of true, or numbers."""
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
