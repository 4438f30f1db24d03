import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from benchmark.relbench.inputs import Inputs


class Model:
    r"""What the harness asks of a model.

    A model is fitted once to the train split and may choose by val. It predicts the
    rows of a split under either protocol, from inputs that it is given anew: a check
    for leaks hands it databases from which the future is gone.

    Attributes:
        kinds: The types of tasks that it can do.
        deterministic: Whether seeds make no difference.
        settings: Every hyper-parameter, and what was chosen on val.
        fit_seconds: Seconds of the training, if it served other runs too, or was one.
        fit_minutes: Minutes that it was allowed, if not those of this run.
        fit_megabytes: Most memory that it took, if not in this run.
    """

    kinds: tuple[str, ...] = ('binary_classification', 'regression')
    deterministic = False
    fit_seconds: float | None = None
    fit_minutes: float | None = None
    fit_megabytes: int | None = None

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def reason_against(self, inputs: Inputs) -> str | None:
        r"""Why it is not run on a task that is of a type that it can do, if so."""
        return None

    def is_current(self, line: dict[str, Any]) -> bool:
        r"""Whether a line is of this model as it is now."""
        return True

    def without_draws(self) -> None:
        r"""Lets predictions depend on no draws that follow the places of rows, which
        change when the future is taken away.
        """

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        r"""Trains on the train split.

        Args:
            inputs: The database and the task.
            seed: Determines all draws.
            minutes: How long it may take, for models that can use more.
        """
        raise NotImplementedError

    @contextmanager
    def measured(self) -> Iterator[None]:
        r"""Keeps how many seconds a training takes."""
        start = time.perf_counter()
        yield
        self.fit_seconds = time.perf_counter() - start

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        r"""Predictions for the rows of a split, in order: probabilities of true, or
        numbers.
        """
        raise NotImplementedError

    def features(
        self, inputs: Inputs, rows: np.ndarray, until: np.ndarray
    ) -> pd.DataFrame | None:
        r"""What the model is fed for rows of the task table, if that is a table."""
        return None

    @property
    def num_parameters(self) -> int:
        r"""Number of learned numbers."""
        return 0
