from torch import Tensor

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.task_store import TaskStore


def fkey_phrases(fkey_names: list[str]) -> list[str]:
    r"""The phrase of each foreign key, in the way of a column's.

    Two keys of a table to the same parents differ by it.

    Args:
        fkey_names (list): Names as :obj:`"<table>.<foreign key>"`.

    Example:
        >>> fkey_phrases(['matches.home_team', 'matches.away_team'])
        ['home_team of matches', 'away_team of matches']
    """
    return [' of '.join(reversed(name.split('.', 1))) for name in fkey_names]


def fkey_embedding(source: TaskStore | CellStore) -> Tensor:
    r"""Embeddings :obj:`[F, C]` of the phrases of all foreign keys.

    Args:
        source (TaskStore or CellStore): The database, with or without a task.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> fkey_embedding(store).size(0) == len(store.fkey_names)
        True
    """
    store = source.store if isinstance(source, TaskStore) else source
    return store.embed(fkey_phrases(source.fkey_names))
