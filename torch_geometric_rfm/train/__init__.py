r"""Training, evaluation and checkpoints."""

from torch_geometric_rfm.train.checkpoint import load_checkpoint, save_checkpoint
from torch_geometric_rfm.train.fit import FitResult, TrainConfig, fit
from torch_geometric_rfm.train.fit_links import fit_links
from torch_geometric_rfm.train.predict import predict_rows
from torch_geometric_rfm.train.predict_links import predict_links
from torch_geometric_rfm.train.pretrain import PretrainResult, pretrain
from torch_geometric_rfm.train.pretrain_config import PretrainConfig

__all__ = [
    'FitResult',
    'PretrainConfig',
    'PretrainResult',
    'TrainConfig',
    'fit',
    'fit_links',
    'load_checkpoint',
    'predict_links',
    'predict_rows',
    'pretrain',
    'save_checkpoint',
]
