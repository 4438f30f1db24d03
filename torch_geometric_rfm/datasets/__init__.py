r"""Databases and tasks without end, to pretrain on."""

from torch_geometric_rfm.datasets.generated_tasks import generate_tasks
from torch_geometric_rfm.datasets.remembering_encoder import RememberingTextEncoder
from torch_geometric_rfm.datasets.synthetic_relational_database import (
    SyntheticRelationalDatabase,
)
from torch_geometric_rfm.datasets.task_maker import DroppedTask, GeneratedTasks

__all__ = [
    'DroppedTask',
    'GeneratedTasks',
    'RememberingTextEncoder',
    'SyntheticRelationalDatabase',
    'generate_tasks',
]
