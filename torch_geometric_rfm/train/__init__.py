r"""Training, evaluation and checkpoints."""

from torch_geometric_rfm.train.checkpoint import load_checkpoint, save_checkpoint
from torch_geometric_rfm.train.fit import FitResult, TrainConfig, fit
from torch_geometric_rfm.train.predict import predict_rows

__all__ = [
    'FitResult',
    'TrainConfig',
    'fit',
    'load_checkpoint',
    'predict_rows',
    'save_checkpoint',
]
