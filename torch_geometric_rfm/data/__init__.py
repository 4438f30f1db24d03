r"""From databases and graphs to stores of typed cells."""

from torch_geometric_rfm.data.candidates import Candidates
from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.column_quantiles import column_quantiles
from torch_geometric_rfm.data.column_sample import ColumnSample
from torch_geometric_rfm.data.database import load_database, load_dataset, load_task
from torch_geometric_rfm.data.flip_embeddings import flip_embeddings
from torch_geometric_rfm.data.link_task import LinkTask
from torch_geometric_rfm.data.multilabel import multilabel_tasks
from torch_geometric_rfm.data.negate_labels import negate_labels
from torch_geometric_rfm.data.pair_history import PairHistory
from torch_geometric_rfm.data.prepared_database import (
    PreparedDatabase,
    prepare_database,
)
from torch_geometric_rfm.data.select_cells import select_cells
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_file import load_tasks, save_tasks
from torch_geometric_rfm.data.task_splits import split_by_time
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.data.text_cache import embed_strings
from torch_geometric_rfm.data.text_encoder import (
    HashingTextEncoder,
    SentenceTransformerEncoder,
    TextEncoder,
    check_identity,
    get_text_encoder,
)
from torch_geometric_rfm.data.to_hetero import to_hetero

__all__ = [
    'Candidates',
    'CellData',
    'CellStore',
    'CellType',
    'ColumnSample',
    'HashingTextEncoder',
    'LinkTask',
    'PairHistory',
    'PreparedDatabase',
    'SentenceTransformerEncoder',
    'Task',
    'TaskStore',
    'TextEncoder',
    'check_identity',
    'column_quantiles',
    'embed_strings',
    'flip_embeddings',
    'get_text_encoder',
    'load_database',
    'load_dataset',
    'load_task',
    'load_tasks',
    'multilabel_tasks',
    'negate_labels',
    'prepare_database',
    'save_tasks',
    'select_cells',
    'split_by_time',
    'to_hetero',
]
