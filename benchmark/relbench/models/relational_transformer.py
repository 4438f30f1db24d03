import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.relbench.inputs import Inputs
from benchmark.relbench.machine import commit
from benchmark.relbench.models.base import Model
from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import TaskStore
from torch_geometric_rfm.data.atomic_file import write_atomically
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train.checkpoint import PRETRAINED
from torch_geometric_rfm.train.fit_calibration import has_whole_numbers
from torch_geometric_rfm.train.train_config import FINE_TUNING

SETTINGS: dict[str, dict[str, Any]] = {
    'model': {'channels': 64, 'ff_channels': 128, 'number_encoding': 'piecewise'},
    'sampling': {},
    'training': {'num_evals': 6},
}
r"""What differs from the defaults of :meth:`RelationalTransformer.small`, of the
sampler, and of :class:`~torch_geometric_rfm.train.TrainConfig`. With half the channels
twice the rows are seen in the same minutes, which on val of three tasks was better."""

_COPYING: dict[str, dict[str, Any]] = {
    'model': {'copy_attention': ('number', 'boolean', 'text')},
    'training': {'drop_rate': 0.6},
}

DATABASES: dict[str, dict[str, dict[str, Any]]] = {
    'rel-f1': {
        'model': {'datetime_encoding': ('global', 'relative')},
        'sampling': {'own_labels': 0.08, 'history': 0.0},
    },
    'un-votes': {'sampling': {'recent_labels': 0.2}},
    'ipl-cricket': _COPYING,
    'quantum-stackexchange': _COPYING,
}
r"""What differs for a database, chosen on val."""


JOINT_TRAINING: dict[str, Any] = {'drop_rate': 0.5}
r"""What differs where all tasks are trained on, unless the database says otherwise."""


class RelationalTransformerModel(Model):
    r"""The small Relational Transformer from scratch, on the one task."""

    kinds = (*Model.kinds, 'multiclass_classification', 'recommendation')

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        self._train(inputs, [inputs.store], seed, minutes)

    def _train(
        self, inputs: Inputs, stores: list[TaskStore], seed: int, minutes: float
    ) -> None:
        self.predictor = self.new_predictor(inputs, seed)
        training = {'minutes': minutes, **self.training(inputs), 'seed': seed}
        result = self.predictor.fit_stores(stores, show_progress=False, **training)
        for store in stores:
            if has_whole_numbers(store):
                self.predictor.calibrate_rows(store)
        self.settings = {
            **self.predictor.model.config,
            **self.predictor.sampling,
            **self.predictor.training,
            'text_encoder': self.predictor.text_encoder.identity()['name'],
            'steps': result.steps,
            'contexts': result.contexts,
            'rounded': [k for k, v in self.predictor.calibrations.items() if v.whole],
        }

    def new_predictor(self, inputs: Inputs, seed: int) -> RelationalPredictor:
        r"""What is trained."""
        return RelationalPredictor(
            _new_model(inputs, seed),
            inputs.store.store.text_encoder,
            **_settings(inputs, 'sampling'),
        )

    def training(self, inputs: Inputs) -> dict[str, Any]:
        r"""How it is trained."""
        settings = _settings(inputs, 'training')
        if inputs.kind == 'recommendation':
            settings.pop('drop_rate', None)
        return settings

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        return self.predictor.predict_rows(inputs.store, split, protocol)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.predictor.model.parameters())


class JointRelationalTransformer(RelationalTransformerModel):
    r"""The small Relational Transformer from scratch, on all tasks of the database.

    Train contexts leave out up to half of their cells, unless a database sets another
    share: with ten minutes that was better on val of rel-f1 than all cells with four.

    One training serves the runs of all its tasks: where inputs have a folder for
    models, it is kept there, by database, seed, minutes, settings and commit. Val
    rows of all tasks together decide which weights are kept.
    """

    kinds = Model.kinds

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        folder = self._folder(inputs, seed, minutes)
        if folder is not None and (folder / 'run.json').exists():
            run = json.loads((folder / 'run.json').read_text())
            self.predictor = RelationalPredictor.from_pretrained(
                folder, inputs.store.store.text_encoder
            )
            self.settings, self.fit_seconds = run['settings'], run['seconds']
            return
        with self.measured():
            companions = inputs.companions()
            stores = [inputs.store.store.with_task(task) for task in companions]
            self._train(inputs, stores, seed, minutes)
        if folder is not None:
            self.predictor.save_pretrained(folder)
            run = {'settings': self.settings, 'seconds': self.fit_seconds}
            text = json.dumps(run, default=str)
            write_atomically(folder / 'run.json', lambda p: Path(p).write_text(text))

    def training(self, inputs: Inputs) -> dict[str, Any]:
        return JOINT_TRAINING | super().training(inputs)

    @staticmethod
    def _folder(inputs: Inputs, seed: int, minutes: float) -> Path | None:
        if inputs.models is None:
            return None
        encoder = inputs.store.store.text_encoder.identity()
        settings = SETTINGS, DATABASES, JOINT_TRAINING
        where = commit(), str(inputs.source), encoder
        what = json.dumps([settings, where], sort_keys=True, default=str)
        digest = hashlib.sha256(what.encode()).hexdigest()[:12]
        return inputs.models / f'{inputs.database}-{seed}-{minutes:g}-{digest}'


class PretrainedRelationalTransformer(RelationalTransformerModel):
    r"""What the pretrained model of the package comes to."""

    kinds = Model.kinds

    def new_predictor(self, inputs: Inputs, seed: int) -> RelationalPredictor:
        return RelationalPredictor.from_pretrained()

    def training(self, inputs: Inputs) -> dict[str, Any]:
        return SETTINGS['training']

    def reason_against(self, inputs: Inputs) -> str | None:
        encoder = RelationalPredictor.from_pretrained().text_encoder
        if inputs.store.store.text_encoder.identity() != encoder.identity():
            return f"the pretrained model needs text encoder '{encoder.name}'"
        return None

    def is_current(self, line: dict[str, Any]) -> bool:
        return line['hyper_parameters'].get('weights') == _digest_of_weights()


class ZeroShotRelationalTransformer(PretrainedRelationalTransformer):
    r"""The pretrained model of the package, as it is."""

    deterministic = True

    def reason_against(self, inputs: Inputs) -> str | None:
        seen = RelationalPredictor.from_pretrained().training['databases']
        if inputs.database in seen:
            return f"the model was pretrained on '{inputs.database}'"
        return super().reason_against(inputs)

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        self.predictor = self.new_predictor(inputs, seed)
        self.settings = {
            **self.predictor.model.config,
            **self.predictor.sampling,
            'weights': _digest_of_weights(),
        }


class FineTunedRelationalTransformer(PretrainedRelationalTransformer):
    r"""The pretrained model of the package, fine-tuned on the one task.

    Of databases that it was pretrained on it has seen train rows before.
    """

    def is_current(self, line: dict[str, Any]) -> bool:
        settings = line['hyper_parameters']
        same = all(settings.get(name) == value for name, value in FINE_TUNING.items())
        return same and super().is_current(line)

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        super().fit(inputs, seed, minutes)
        self.settings['weights'] = _digest_of_weights()


def _digest_of_weights() -> str:
    content = (PRETRAINED / 'model.safetensors').read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def _settings(inputs: Inputs, kind: str) -> dict[str, Any]:
    return SETTINGS[kind] | DATABASES.get(inputs.database, {}).get(kind, {})


def _new_model(inputs: Inputs, seed: int) -> RelationalTransformer:
    import torch

    torch.manual_seed(seed)
    channels = inputs.store.store.text_encoder.channels
    return RelationalTransformer.small(
        **{'text_channels': channels} | _settings(inputs, 'model')
    )
