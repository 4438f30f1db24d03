from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from torch_geometric_rfm.data.cell_store import CellStore
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.data.class_labels import encode_classes
from torch_geometric_rfm.data.link_task import LinkTask
from torch_geometric_rfm.data.task import Task
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.data.text_encoder import HashingTextEncoder
from torch_geometric_rfm.data.to_hetero import to_hetero

_TIME = pd.Timestamp('2021-01-01')
_COLOURS = (
    *('amber', 'black', 'coral', 'denim', 'ebony', 'green', 'ivory', 'olive'),
    *('azure', 'beige', 'brown', 'khaki', 'lemon', 'mauve', 'ochre', 'white'),
)
_ANIMALS = (
    *('bear', 'cat', 'dog', 'eagle', 'fox', 'horse', 'mouse', 'whale'),
    *('ant', 'bee', 'crow', 'deer', 'frog', 'goat', 'lion', 'owl'),
)


class KnownAnswer(NamedTuple):
    r"""A task whose best possible predictions are known.

    Args:
        store: The task over its database.
        best: Of each row of the task table the best prediction: a number, a
            probability, :obj:`[rows, classes]`, or :obj:`[rows, k]` destinations.
    """

    store: TaskStore
    best: NDArray[Any]

    def scores(
        self, prediction: NDArray[Any], split: str = 'test', first_class: int = 0
    ) -> tuple[float, float]:
        r"""The score of predictions for a split, and that of the best ones: the
        absolute error of numbers, log loss of booleans, accuracy of classes from
        :obj:`first_class` on, mean average precision of links.
        """
        rows = self.store.rows_of_split(split)
        task = self.store.task
        if isinstance(task, LinkTask):
            first, second = (
                task.score_rows(rows, p)['map'] for p in (prediction, self.best[rows])
            )
            return first, second
        label = self.store.task.frame['label'].to_numpy()[rows]
        both = prediction, self.best[rows]
        kind = self.store.task.cell_type
        if kind == CellType.NUMBER:
            first, second = (np.abs(label - p).mean() for p in both)
        elif kind == CellType.BOOLEAN:
            logs = [np.log(np.where(label > 0, p, 1 - p)) for p in both]
            first, second = (-x.mean() for x in logs)
        else:
            first, second = (
                (p[:, first_class:].argmax(axis=1) + first_class == label).mean()
                for p in both
            )
        return float(first), float(second)

    @property
    def wider(self) -> 'KnownAnswer':
        r"""The same task, in which classes without train labels may be predicted."""
        task = self.store.task
        classes = [*task.classes, *task.other_classes]
        changes = {'classes': classes, 'other_classes': []}
        store = self.store.store.with_task(Task(**{**task.__dict__, **changes}))
        return KnownAnswer(store, self.best)


def known_answer(name: str, num_rows: int = 4000, seed: int = 0) -> KnownAnswer:
    r"""A synthetic task whose answer is known.

    .. list-table::
       :widths: 25 75

       * - :obj:`'parent'`
         - the value of the parent, and noise
       * - :obj:`'mean'`
         - the mean of six children, and noise
       * - :obj:`'last'`
         - the value of the last of six children, and noise
       * - :obj:`'flag'`
         - a boolean whose logit is twice the value of the parent
       * - :obj:`'majority'`
         - the most frequent category of seven siblings, with noise
       * - :obj:`'phrase'`
         - the phrase of the parent as a class, with noise; of 256 classes 32 are met
           on test alone
       * - :obj:`'link'`
         - the item that goes with the one the user viewed, with noise; of 32 items

    Args:
        name (str): Which.
        num_rows (int): Rows of the task table. (default: :obj:`4000`)
        seed (int): Seed of all draws. (default: :obj:`0`)

    Example:
        >>> known_answer('majority', num_rows=50).store.task.cell_type.name
        'CATEGORY'
    """
    if name not in _ANSWERS:
        raise ValueError(f"'name' must be one of {', '.join(_ANSWERS)} (got {name!r})")
    return _ANSWERS[name](np.random.default_rng(seed), num_rows)


def _parent(rng: np.random.Generator, num_rows: int) -> KnownAnswer:
    value = rng.normal(size=num_rows)
    parents = pd.DataFrame({'id': np.arange(num_rows), 'level': value})
    tables = {'items': (_rows(num_rows, parent=True), 'parents'), 'parents': parents}
    return _number(tables, value + rng.normal(size=num_rows), value, rng)


def _children(rng: np.random.Generator, num_rows: int) -> tuple[Any, Any]:
    value = rng.normal(size=(num_rows, 6))
    days = np.tile(np.arange(6, 0, -1), num_rows)
    children = pd.DataFrame(
        {
            'id': np.arange(value.size),
            'parent_id': np.repeat(np.arange(num_rows), 6),
            'level': value.ravel(),
            'date': _TIME - pd.to_timedelta(days, 'D'),
        }
    )
    return value, {'items': _rows(num_rows), 'children': (children, 'items')}


def _mean(rng: np.random.Generator, num_rows: int) -> KnownAnswer:
    value, tables = _children(rng, num_rows)
    mean = value.mean(axis=1)
    return _number(tables, mean + 0.4 * rng.normal(size=num_rows), mean, rng)


def _last(rng: np.random.Generator, num_rows: int) -> KnownAnswer:
    value, tables = _children(rng, num_rows)
    last = value[:, -1]
    return _number(tables, last + rng.normal(size=num_rows), last, rng)


def _flag(rng: np.random.Generator, num_rows: int) -> KnownAnswer:
    value = rng.normal(size=num_rows)
    probability = 1 / (1 + np.exp(-2 * value))
    parents = pd.DataFrame({'id': np.arange(num_rows), 'level': value})
    tables = {'items': (_rows(num_rows, parent=True), 'parents'), 'parents': parents}
    label = (rng.random(num_rows) < probability).astype(np.float64)
    return _finish(tables, label, probability, rng, CellType.BOOLEAN)


def _majority(rng: np.random.Generator, num_rows: int) -> KnownAnswer:
    # Each group has seven items of a known colour, and one whose colour is asked.
    names = np.array(_COLOURS[:4])
    winner = rng.integers(0, 4, num_rows)
    others = (winner[:, None] + rng.integers(1, 4, (num_rows, 3))) % 4
    colour = np.concatenate([np.repeat(winner[:, None], 4, axis=1), others], axis=1)
    colour = rng.permuted(colour, axis=1)
    asked = pd.DataFrame({'parent_id': np.arange(num_rows), 'colour': None})
    known = pd.DataFrame(
        {
            'parent_id': np.repeat(np.arange(num_rows), 7),
            'colour': names[colour.ravel()],
        }
    )
    items = pd.concat([asked, known], ignore_index=True)
    items.insert(0, 'id', np.arange(len(items)))
    items['size'] = np.arange(len(items)) % 7
    label = np.where(rng.random(num_rows) < 0.8, winner, rng.integers(0, 4, num_rows))
    tables = {'items': (items, 'groups'), 'groups': _rows(num_rows)}
    best = np.eye(4)[winner] * 0.8 + 0.05
    return _finish(tables, names[label], best, rng, CellType.CATEGORY)


def _phrase(rng: np.random.Generator, num_rows: int) -> KnownAnswer:
    names = np.array(
        [f'{colour} {animal}' for colour in _COLOURS for animal in _ANIMALS]
    )
    # Each word occurs in train, in 14 of its 16 pairs.
    number = np.arange(256)
    unseen = (number // 16 + number) % 16 < 2
    split = _splits(num_rows, rng)
    truth, other = (
        np.where(
            split == 'test',
            rng.choice(number[unseen], num_rows),
            rng.choice(number[~unseen], num_rows),
        )
        for _ in range(2)
    )
    label = np.where(rng.random(num_rows) < 0.9, truth, other)
    parents = pd.DataFrame({'id': np.arange(num_rows), 'sort': names[truth]})
    tables = {'items': (_rows(num_rows, parent=True), 'parents'), 'parents': parents}
    answer = _finish(tables, names[label], np.empty(0), rng, CellType.CATEGORY, split)
    task = answer.store.task
    classes = np.array([*task.classes, *task.other_classes])
    return answer._replace(best=(names[truth][:, None] == classes).astype(np.float64))


def _link(rng: np.random.Generator, num_rows: int) -> KnownAnswer:
    # Who views an item takes its partner next, or else any other item.
    names = [f'{colour} {animal}' for colour in _COLOURS[:4] for animal in _ANIMALS[:8]]
    size, k = len(names), 10
    order = rng.permutation(size)
    partner = np.empty(size, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    viewed = rng.integers(0, size, num_rows)
    places = np.arange(1, size)
    ranked = (partner[viewed][:, None] + np.append(0, places[: k - 1])) % size
    other = (partner[viewed] + rng.choice(places, num_rows)) % size
    taken = np.where(rng.random(num_rows) < 0.9, partner[viewed], other)
    views = pd.DataFrame(
        {
            'id': np.arange(num_rows),
            'user_id': np.arange(num_rows),
            'item_id': viewed,
            'date': _TIME - pd.Timedelta(days=1),
        }
    )
    tables = {
        'users': (_rows(num_rows), {}),
        'items': (pd.DataFrame({'id': np.arange(size), 'name': names}), {}),
        'views': (views, {'user_id': 'users', 'item_id': 'items'}),
    }
    frame = pd.DataFrame(
        {
            'entity': np.arange(num_rows),
            'time': _TIME,
            'label': 1.0,
            'split': _splits(num_rows, rng),
            'destinations': [np.array([item]) for item in taken],
        }
    )
    task = LinkTask(
        **_NAMES,
        entity_table='users',
        entity_col='user',
        cell_type=CellType.NUMBER,
        horizon=pd.Timedelta(0),
        frame=frame,
        destination_table='items',
        destination_col='item',
        destination_keys=np.arange(size),
        k=k,
    )
    return _over(tables, task, ranked)


_ANSWERS: dict[str, Callable[[np.random.Generator, int], KnownAnswer]] = {
    'parent': _parent,
    'mean': _mean,
    'last': _last,
    'flag': _flag,
    'majority': _majority,
    'phrase': _phrase,
    'link': _link,
}
_NAMES: dict[str, Any] = {
    'name': 'questions',
    'time_col': 'time',
    'target_col': 'answer',
}


def _rows(num_rows: int, parent: bool = False) -> pd.DataFrame:
    # Rows without a cell would pass nothing on.
    size = np.arange(num_rows) % 7
    frame = pd.DataFrame({'id': np.arange(num_rows), 'size': size})
    return frame.assign(parent_id=np.arange(num_rows)) if parent else frame


def _splits(num_rows: int, rng: np.random.Generator) -> NDArray[Any]:
    return rng.choice(['train', 'val', 'test'], num_rows, p=[0.7, 0.1, 0.2])


def _number(
    tables: Any, label: Any, best: Any, rng: np.random.Generator
) -> KnownAnswer:
    return _finish(tables, label, best, rng, CellType.NUMBER)


def _finish(
    tables: dict[str, Any],
    label: Any,
    best: NDArray[np.float64],
    rng: np.random.Generator,
    cell_type: CellType,
    split: Any = None,
) -> KnownAnswer:
    split = _splits(len(label), rng) if split is None else split
    classes: list[str] = []
    others: list[str] = []
    if cell_type == CellType.CATEGORY:
        label, classes, others = encode_classes(label, split == 'train')
    frame = pd.DataFrame(
        {'entity': np.arange(len(label)), 'time': _TIME, 'label': label, 'split': split}
    )
    task = Task(
        **_NAMES,
        entity_table='items',
        entity_col='item',
        cell_type=cell_type,
        horizon=pd.Timedelta(0),
        frame=frame,
        classes=classes,
        other_classes=others,
    )
    keyed = {
        name: (table[0], {'parent_id': table[1]})
        if isinstance(table, tuple)
        else (table, {})
        for name, table in tables.items()
    }
    return _over(keyed, task, best)


def _over(
    tables: dict[str, tuple[pd.DataFrame, dict[str, str]]], task: Task, best: Any
) -> KnownAnswer:
    # The task over a database of frames with their foreign keys.
    from relbench.base import Database, Table

    made = {
        name: Table(frame, keys, 'id', 'date' if 'date' in frame else None)
        for name, (frame, keys) in tables.items()
    }
    task.validate()
    data, col_stats = to_hetero(Database(made))
    store = CellStore.from_hetero(
        data, col_stats, text_encoder=HashingTextEncoder(64), cache_dir=False
    )
    return KnownAnswer(store.with_task(task), best)
