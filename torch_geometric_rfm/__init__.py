r"""Relational foundation models for PyTorch Geometric.

Subpackages are imported on first use, so that ``import torch_geometric_rfm``
costs next to nothing and a single layer can be had without the extras.
"""

import importlib
from typing import Any

__version__ = '0.1.0'

_SUBPACKAGES = (
    'audit',
    'data',
    'datasets',
    'loader',
    'loss',
    'metrics',
    'nn',
    'sampler',
    'testing',
    'train',
    'transforms',
    'visualization',
)
_EXPORTS = {
    'CellData': 'data',
    'CellStore': 'data',
    'Task': 'data',
    'ContextLoader': 'loader',
    'RelationalPredictor': 'predictor',
    'RelationalTransformer': 'nn',
}

__all__ = ['__version__', *_SUBPACKAGES, *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES or name == 'predictor':
        return importlib.import_module(f'{__name__}.{name}')
    if name in _EXPORTS:
        return getattr(importlib.import_module(f'{__name__}.{_EXPORTS[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(__all__)
