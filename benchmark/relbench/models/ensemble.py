from typing import Any

import numpy as np

from benchmark.relbench.averages import averaged_predictions
from benchmark.relbench.bootstrap import is_better, resampled, resamples
from benchmark.relbench.inputs import PROTOCOLS, Inputs
from benchmark.relbench.models.base import Model
from benchmark.relbench.results import read_lines

Run = dict[str, dict[str, Any]]
r"""The lines of a run by protocol."""


class Ensemble(Model):
    r"""The mean of the predictions of several models, or the one of them that a paired
    bootstrap on val of the task finds better than the mean.

    Val rows are often too few to tell models apart. They choose under the rolling
    protocol. It trains nothing: it is made of the runs of its members with the same
    seed that stand in the file of results, and so takes the time of all of them.
    Members that cannot do the type of task are left out.

    Args:
        members: The models by name.
    """

    kinds = (*Model.kinds, 'multiclass_classification')

    def __init__(self, members: dict[str, type[Model]]) -> None:
        super().__init__()
        self.members = members

    def is_current(self, line: dict[str, Any]) -> bool:
        return False  # Its members may have run again, and it costs nothing.

    def without_draws(self) -> None:
        raise ValueError(
            'an ensemble is made of predictions that stand, and knows what its members '
            f'know; check these: {", ".join(self.members)}'
        )

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        runs = self._runs(inputs, seed)
        self.chosen = runs
        if len(runs) > 1:
            entity = inputs.task.frame['entity'].to_numpy()[inputs.rows('val')]
            weights = resamples(entity)
            curves = [
                self._goodness(inputs, some, weights)
                for some in (runs, *([run] for run in runs))
            ]
            best = max(range(1, len(curves)), key=lambda i: np.nanmean(curves[i]))
            if is_better(curves[best], curves[0]):
                self.chosen = [runs[best - 1]]
        lines = [run['rolling'] for run in runs]
        self.fit_seconds = sum(line['seconds']['fit'] for line in lines)
        self.fit_minutes = sum(line['minutes'] for line in lines)
        self.fit_megabytes = max(line['peak_megabytes'] for line in lines)
        self.parameters = sum(run['rolling']['parameters'] for run in self.chosen)
        self.settings = {
            'members': {line['model']: line['commit'] for line in lines},
            'chosen': [run['rolling']['model'] for run in self.chosen],
        }

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        return self._averaged(inputs, self.chosen, split, protocol)[1]

    @property
    def num_parameters(self) -> int:
        return self.parameters

    def _runs(self, inputs: Inputs, seed: int) -> list[Run]:
        able = [name for name, of in self.members.items() if inputs.kind in of.kinds]
        runs: dict[str, Run] = {name: {} for name in able}
        where = {'database': inputs.database, 'task': inputs.task.name, 'seed': seed}
        for line in read_lines(inputs.results, **where) if inputs.results else ():
            runs.setdefault(line['model'], {})[line['protocol']] = line
        missing = [name for name in able if len(runs[name]) < len(PROTOCOLS)]
        if missing:
            raise ValueError(
                f"an ensemble is made of runs that stand, and of '{inputs.task.name}' "
                f'those of {", ".join(missing)} with seed {seed} are not in '
                f'{inputs.results}; run them first'
            )
        return [runs[name] for name in able]

    def _goodness(
        self, inputs: Inputs, some: list[Run], weights: np.ndarray
    ) -> np.ndarray:
        label, prediction = self._averaged(inputs, some, 'val', 'rolling')
        return resampled(inputs.kind, label, [prediction], weights)

    @staticmethod
    def _averaged(
        inputs: Inputs, some: list[Run], split: str, protocol: str
    ) -> tuple[np.ndarray, np.ndarray]:
        assert inputs.results is not None
        lines = [run[protocol] for run in some]
        found = averaged_predictions(lines, inputs.results.parent, split)
        if found is None:
            names = ', '.join(line['predictions'] for line in lines)
            raise FileNotFoundError(f'no predictions of a member ({names})')
        if not np.array_equal(found[0], inputs.truth(split)):
            names = ', '.join(line['model'] for line in lines)
            raise ValueError(
                f'runs of {names} have other labels for {split} than task '
                f"'{inputs.task.name}'; run them again into a new results file"
            )
        return found
