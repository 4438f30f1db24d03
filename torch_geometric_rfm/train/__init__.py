r"""Training, evaluation and checkpoints."""

from torch_geometric_rfm.train.calibration import Calibration
from torch_geometric_rfm.train.checkpoint import load_checkpoint, save_checkpoint
from torch_geometric_rfm.train.fit import fit
from torch_geometric_rfm.train.fit_calibration import fit_calibration
from torch_geometric_rfm.train.fit_links import fit_links
from torch_geometric_rfm.train.predict import predict_rows
from torch_geometric_rfm.train.predict_links import predict_links
from torch_geometric_rfm.train.pretrain import PretrainResult, pretrain
from torch_geometric_rfm.train.pretrain_config import PretrainConfig
from torch_geometric_rfm.train.train_config import TrainConfig
from torch_geometric_rfm.train.training_loop import FitResult

__all__ = [
    'Calibration',
    'FitResult',
    'PretrainConfig',
    'PretrainResult',
    'TrainConfig',
    'fit',
    'fit_calibration',
    'fit_links',
    'load_checkpoint',
    'predict_links',
    'predict_rows',
    'pretrain',
    'save_checkpoint',
]
