r"""Fixtures for tests of models and transforms, and the checks of contexts."""

from torch_geometric_rfm.testing.cells import random_cells
from torch_geometric_rfm.testing.database import toy_database, toy_task, toy_task_store
from torch_geometric_rfm.testing.leakage import find_violations
from torch_geometric_rfm.testing.official_batch import (
    official_batch,
    save_official_input,
)
from torch_geometric_rfm.testing.random_database import random_database, random_task
from torch_geometric_rfm.testing.raw_database import RawDatabase

__all__ = [
    'RawDatabase',
    'find_violations',
    'official_batch',
    'random_cells',
    'random_database',
    'random_task',
    'save_official_input',
    'toy_database',
    'toy_task',
    'toy_task_store',
]
