r"""LightGBM on tables of features."""

import numpy as np
import pandas as pd

from benchmark.relbench.features.relational import (
    entity_features,
    plan_features,
    relational_features,
)
from benchmark.relbench.inputs import Inputs
from benchmark.relbench.models.base import Model
from benchmark.relbench.models.boosting import Boosting

MOST_ROWS = 100_000
r"""Of more train rows than that so many are drawn."""


class LightGBMRelational(Model):
    r"""LightGBM on automatic relational aggregates, see
    :func:`~benchmark.relbench.features.relational.relational_features`.
    """

    kinds = (*Model.kinds, 'multiclass_classification')

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        self.plan = plan_features(inputs)
        rows = inputs.rows('train')
        rows = rows[~np.isnan(inputs.labels[rows])]
        if len(rows) > MOST_ROWS:
            draw = np.random.default_rng(seed).permutation(len(rows))
            rows = rows[np.sort(draw[:MOST_ROWS])]
        val = inputs.rows('val')
        x, val_x = (
            self.features(inputs, r, inputs.visible_until(r, 'rolling'))
            for r in (rows, val)
        )
        self.boosting = Boosting(inputs.kind, seed, inputs.num_classes)
        self.boosting.fit(
            x.to_numpy(),
            inputs.labels[rows],
            val_x.to_numpy(),
            inputs.labels[val],
            inputs.train_std,
        )
        self.settings = {
            'num_features': x.shape[1],
            'train_rows': len(rows),
            'windows_in_days': [s // 86_400 for s in self.plan.windows.values()],
            **self.boosting.settings,
        }

    def features(
        self, inputs: Inputs, rows: np.ndarray, until: np.ndarray
    ) -> pd.DataFrame:
        # The last table is kept: a check for leaks predicts and looks at the same.
        asked = (type(self), rows.tobytes(), until.tobytes())
        last, table = inputs.cache.get('features', (None, None))
        if table is None or last != asked:
            table = self._features(inputs, rows, until)
            inputs.cache['features'] = asked, table
        return table

    def _features(
        self, inputs: Inputs, rows: np.ndarray, until: np.ndarray
    ) -> pd.DataFrame:
        return relational_features(inputs, self.plan, rows, until)

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        rows = inputs.rows(split)
        x = self.features(inputs, rows, inputs.visible_until(rows, protocol))
        return self.boosting.predict(x.to_numpy())

    @property
    def num_parameters(self) -> int:
        return self.boosting.num_parameters


class LightGBMEntity(LightGBMRelational):
    r"""LightGBM on the columns of the entity's own row, and the date."""

    def _features(
        self, inputs: Inputs, rows: np.ndarray, until: np.ndarray
    ) -> pd.DataFrame:
        return entity_features(inputs, self.plan, rows, until)
