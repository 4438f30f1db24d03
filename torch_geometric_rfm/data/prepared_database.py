import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.database import load_database, load_dataset
from torch_geometric_rfm.data.link_task import LinkTask
from torch_geometric_rfm.data.multilabel import open_relbench
from torch_geometric_rfm.data.store_file import FORMAT_VERSION as STORE_VERSION
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_file import FORMAT_VERSION as TASKS_VERSION
from torch_geometric_rfm.data.task_file import load_tasks, save_tasks
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.data.text_cache import default_cache_dir
from torch_geometric_rfm.data.text_encoder import TextEncoder, get_text_encoder
from torch_geometric_rfm.data.to_hetero import to_hetero

STORE_FILE, TASKS_FILE = 'database.store', 'database.tasks'


@dataclass
class PreparedDatabase:
    r"""A database as training needs it: its store and its tasks.

    Args:
        name: The name of the database.
        store: Its cells.
        tasks: The tasks that can be learned.
        skipped: The others, each with the reason.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> PreparedDatabase('shop', store.store, [store.task])
        PreparedDatabase('shop', tasks=1, rows=234)
    """

    name: str
    store: CellStore
    tasks: list[Task]
    skipped: dict[str, str] = field(default_factory=dict)

    def task_stores(self) -> list[TaskStore]:
        r"""Each task laid over the store."""
        return [self.store.with_task(task) for task in self.tasks]

    def save(self, folder: str | Path) -> None:
        r"""Writes the store and the tasks into a folder, which needs neither
        RelBench nor the database afterwards.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_tasks(folder / TASKS_FILE, self.tasks)
        # Last, as `is_prepared` looks for it.
        self.store.save(folder / STORE_FILE)

    @classmethod
    def load(
        cls, folder: str | Path, text_encoder: Any = None, name: str | None = None
    ) -> 'PreparedDatabase':
        r"""Reads what :meth:`save` wrote; the store is mapped, not read.

        Args:
            folder (str): The folder.
            text_encoder (TextEncoder or str, optional): The encoder that the
                store was built with; by its name if not given.
            name (str, optional): The name of the database, that of the folder
                if not given.

        Raises:
            FileNotFoundError: If the folder holds no prepared database.
            ValueError: If it is damaged, or of another text encoder.
        """
        folder = Path(folder)
        store = CellStore.load(folder / STORE_FILE, text_encoder=text_encoder)
        return cls(name or folder.name, store, load_tasks(folder / TASKS_FILE))

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}('{self.name}', tasks={len(self.tasks)}, "
            f'rows={self.store.num_rows})'
        )


def is_prepared(source: Any) -> bool:
    r"""Whether a folder holds what :meth:`PreparedDatabase.save` wrote."""
    return isinstance(source, (str, Path)) and (Path(source) / STORE_FILE).is_file()


def prepare_database(
    source: Any,
    text_encoder: TextEncoder | str | None = None,
    cache_dir: str | Path | None = None,
    generate: Callable[[Any], Sequence[Task]] | None = None,
    generator: str = '',
) -> PreparedDatabase:
    r"""Builds the store and the tasks of a database, or reads them if they were
    built before.

    All tasks of the database are taken that can be learned: forecasts,
    autocompletion, and external ones that say when their labels become known, in
    their manifest or as :obj:`label_window` in :obj:`tasks.json`. The others are
    named in :obj:`skipped`, each with the reason.

    Args:
        source (str, Path or relbench.base.Dataset): A database, or a folder of
            :meth:`PreparedDatabase.save`.
        text_encoder (TextEncoder or str, optional): See
            :func:`~torch_geometric_rfm.data.get_text_encoder`.
            (default: :obj:`None`)
        cache_dir (str, optional): Where what was built from folders is kept;
            :obj:`databases` beside :func:`default_cache_dir` if not given.
            (default: :obj:`None`)
        generate (callable, optional): Makes further tasks of the dataset.
            (default: :obj:`None`)
        generator (str): What tells it from other generators in the cache.
            (default: :obj:`""`)
    """
    if isinstance(source, PreparedDatabase):
        return source
    if is_prepared(source):
        return PreparedDatabase.load(source, text_encoder)
    encoder = get_text_encoder(text_encoder)
    if hasattr(source, 'to_store'):  # It builds itself, as synthetic ones do.
        tasks = source.tasks() if generate is None else generate(source)
        name = f'synthetic-{source.seed}'
        return PreparedDatabase(name, source.to_store(encoder), list(tasks))
    name = Path(source).name if isinstance(source, (str, Path)) else source.name
    cached = _cache_folder(source, name, encoder, cache_dir, generator)
    if cached is None:
        return _build(source, name, encoder, generate)
    if not is_prepared(cached):
        built = _build(source, name, encoder, generate)
        cached.mkdir(parents=True, exist_ok=True)
        (cached / 'skipped.json').write_text(json.dumps(built.skipped))
        built.save(cached)
        del built  # Only one copy in memory, and that one mapped.
    out = PreparedDatabase.load(cached, encoder, name)
    out.skipped = json.loads((cached / 'skipped.json').read_text())
    return out


def _build(
    source: Any,
    name: str,
    encoder: TextEncoder,
    generate: Callable[[Any], Sequence[Task]] | None,
) -> PreparedDatabase:
    dataset = load_dataset(source)
    db = load_database(dataset)
    horizons = _label_windows(source)
    tasks: list[Task] = []
    skipped: dict[str, str] = {}
    for task in dataset.get_task_names():
        _open_task(dataset, db, task, horizons.get(task), tasks, skipped)
    known = {task.name for task in tasks}
    if generate is not None:
        tasks += [task for task in generate(dataset) if task.name not in known]
    cutoff = dataset.val_timestamp
    data, col_stats = to_hetero(db, cutoff=cutoff)
    store = CellStore.from_hetero(data, col_stats, text_encoder=encoder, cutoff=cutoff)
    return PreparedDatabase(name, store, tasks, skipped)


def _open_task(
    dataset: Any,
    db: Any,
    name: str,
    horizon: str | None,
    tasks: list[Task],
    skipped: dict[str, str],
) -> None:
    try:
        found = open_relbench(dataset.load_task(name), db, horizon)
        for task in found:
            if isinstance(task, LinkTask):
                raise ValueError('a recommendation task, whose label is no cell')
            task.labels_of_split('val')
        tasks += found
    except (ValueError, KeyError, TypeError) as error:
        skipped[name] = str(error)


def _label_windows(source: Any) -> dict[str, str]:
    path = Path(source) / 'tasks.json' if isinstance(source, (str, Path)) else None
    if path is None or not path.is_file():
        return {}
    tasks = json.loads(path.read_text())['tasks']
    return {t['name']: t['label_window'] for t in tasks if 'label_window' in t}


def _cache_folder(
    source: Any,
    name: str,
    encoder: TextEncoder,
    cache_dir: str | Path | None,
    generator: str,
) -> Path | None:
    # None for what is not a folder here, and may change unseen.
    if not isinstance(source, (str, Path)) or not Path(source).is_dir():
        return None
    digest = hashlib.blake2b(digest_size=12)
    for path in sorted(Path(source).rglob('*')):
        if path.is_file():
            stat = path.stat()
            entry = (str(path.relative_to(source)), stat.st_size, stat.st_mtime_ns)
            digest.update(repr(entry).encode())
    versions = (STORE_VERSION, TASKS_VERSION)
    identity = json.dumps(encoder.identity(), sort_keys=True, default=str)
    digest.update(repr((versions, identity, generator)).encode())
    root = default_cache_dir().parent / 'databases' if cache_dir is None else cache_dir
    return Path(root) / f'{name}-{digest.hexdigest()}'
