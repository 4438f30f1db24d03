from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relbench.base import BaseTask, Database, Dataset

_INSTALL = 'pip install "torch-geometric-rfm[relbench]"'


def load_dataset(source: Any) -> 'Dataset':
    r"""The RelBench dataset at a folder or Hub id.

    Args:
        source (str, Path or relbench.base.Dataset): A RelBench 3 folder (it
            holds :obj:`manifest.yaml`), a Hub id such as
            :obj:`"stanford-star/relbench-v1/rel-f1"`, or a dataset.

    Raises:
        FileNotFoundError: If a local path is no RelBench folder.
        ImportError: If RelBench is not installed.
    """
    if not isinstance(source, (str, Path)):
        return source
    try:
        import relbench
    except ImportError as error:
        raise ImportError(
            f'RelBench is needed to load databases: {_INSTALL}'
        ) from error
    path = Path(source).expanduser()
    if path.exists() and not (path / 'manifest.yaml').exists():
        raise FileNotFoundError(
            f"'{source}' is not a RelBench folder: it has no manifest.yaml. Pass a "
            f"RelBench 3 folder or a Hub id 'org/repo/subdir'."
        )
    if not path.exists() and len(path.parts) < 2:
        raise FileNotFoundError(
            f"no folder '{source}' here, and it is no Hub id 'org/repo/subdir' either"
        )
    return relbench.load_dataset(str(path) if path.exists() else source)


def load_database(source: Any) -> 'Database':
    r"""Loads a whole database, rows after the test timestamp included.

    Nothing is cut: the samplers keep the future out by time, row by row.
    Other sources join here: whatever yields a
    :class:`relbench.base.Database` (tables as data frames with keys and time
    columns) travels the rest of the road.

    Args:
        source (str, Path, relbench.base.Dataset or relbench.base.Database):
            A RelBench 3 folder, a Hub id, or an object already loaded.

    Raises:
        FileNotFoundError: If a local path is no RelBench folder.

    Example:
        >>> from torch_geometric_rfm.testing import toy_database
        >>> load_database(toy_database())
        Database(shops=4, customers=30, orders=200)
    """
    if hasattr(source, 'table_dict'):
        return source
    dataset = load_dataset(source)
    # `get_db` rejects keys that are not 0..n-1; `to_hetero` handles any keys.
    return dataset.make_db()


def load_task(source: Any, name: str) -> 'BaseTask':
    r"""Loads a RelBench task of a dataset by name.

    Args:
        source (str, Path or relbench.base.Dataset): See :func:`load_dataset`.
        name (str): The name of the task.

    Raises:
        ValueError: If the dataset has no such task; the known ones are listed.
    """
    dataset = load_dataset(source)
    known = dataset.get_task_names()
    if name not in known and '/' not in str(name):
        raise ValueError(
            f"no task '{name}' in {source!s} (known are: {', '.join(known) or 'none'})"
        )
    return dataset.load_task(name)
