import numpy as np

from benchmark.relbench.inputs import Inputs
from benchmark.relbench.models.base import Model
from torch_geometric_rfm import RelationalPredictor


class RelationalTransformerModel(Model):
    r"""The small Relational Transformer from scratch, on the one task."""

    def fit(self, inputs: Inputs, seed: int, minutes: float) -> None:
        self.predictor = RelationalPredictor(
            text_encoder=inputs.text_encoder, seed=seed
        )
        result = self.predictor.fit_stores(
            [inputs.store], minutes=minutes, seed=seed, show_progress=False
        )
        self.settings = {
            **self.predictor.model.config,
            **self.predictor.sampling,
            **self.predictor.training,
            'steps': result.steps,
            'contexts': result.contexts,
        }

    def predict(self, inputs: Inputs, split: str, protocol: str) -> np.ndarray:
        return self.predictor.predict_rows(inputs.store, split, protocol)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.predictor.model.parameters())
