from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

KIND_OWN, KIND_RECENT, KIND_RANDOM = range(3)


@dataclass(frozen=True)
class LocalNeighborhood:
    r"""Rows around the seed, breadth first: all parents of a visited row, and
    of its known children some of every foreign key, the shallowest first. It
    takes all cells that the other policies leave.

    Args:
        num_neighbors (int or dict): Children drawn per row and foreign key, -1
            for all of them and 0 for none. A dictionary by
            :obj:`"<table>.<fkey>"`, or by edge type
            :obj:`(child, "f2p_<fkey>", parent)`, leaves others at 16.
        temporal_strategy (str): :obj:`"last"` draws the latest children,
            :obj:`"uniform"` any.

    Raises:
        ValueError: If the strategy is unknown.
    """

    num_neighbors: int | Mapping[Any, int] = 16
    temporal_strategy: str = 'last'

    def __post_init__(self) -> None:
        if self.temporal_strategy not in ('last', 'uniform'):
            raise ValueError(
                f"temporal_strategy must be 'last' or 'uniform' (got "
                f"'{self.temporal_strategy}')"
            )

    def limits(self, fkey_names: list[str]) -> NDArray[np.int64]:
        r"""Children drawn of each foreign key :obj:`[fkeys]`.

        Raises:
            ValueError: If a key is unknown, or a number below -1.
        """
        given: dict[str, int] = {}
        default = 16
        if isinstance(self.num_neighbors, Mapping):
            given = {_fkey_name(k): n for k, n in self.num_neighbors.items()}
        else:
            default = int(self.num_neighbors)
        unknown = sorted(set(given) - set(fkey_names))
        if unknown:
            raise ValueError(
                f'num_neighbors names unknown foreign keys (got {unknown}, known are: '
                f'{", ".join(fkey_names)})'
            )
        out = np.array([given.get(name, default) for name in fkey_names], np.int64)
        if (out < -1).any():
            raise ValueError(
                f'num_neighbors must be -1 (all), 0 (none) or positive (got '
                f'{out.min()})'
            )
        return out


def _fkey_name(key: Any) -> str:
    if isinstance(key, tuple) and len(key) == 3:
        child, relation, _ = key
        return f'{child}.{relation.removeprefix("rev_").removeprefix("f2p_")}'
    return str(key)


DEFAULT_OWN_LABELS = 0.3
r"""Share of own labels that is best on validation over four databases, see the
benchmarks in the documentation.
"""


@dataclass(frozen=True)
class SharePolicy:
    r"""What takes a share of the cells of a context.

    Args:
        share (float): Share of the cells, in :math:`[0, 1]`.

    Raises:
        ValueError: If the share lies outside.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(
                f'share of {type(self).__name__} must lie in [0, 1] (got {self.share})'
            )


@dataclass(frozen=True)
class History(SharePolicy):
    r"""Summaries of all that is known by then, of which a context has room for little:
    of the labels of the seed's entity, and of everyone's lately; and of the entity's
    children their number over each foreign key, in all and within the last one and four
    horizons of the task, and the means of their numbers. They are cells of the seed's
    row; seeds that are no rows of a task have none. See
    :class:`~torch_geometric_rfm.sampler.EntityHistory` and
    :class:`~torch_geometric_rfm.sampler.LabelHistory`.

    Args:
        share (float): Share of the cells at most, in :math:`[0, 1]`.
        num_children (int): Children of a foreign key that means are taken over, the
            latest.

    Raises:
        ValueError: If the share lies outside, or there are no children.
    """

    num_children: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_children < 1:
            raise ValueError(
                f'num_children of History must be positive (got {self.num_children})'
            )


class LabelPolicy(SharePolicy):
    r"""Known labels of the task, for a share of the cells of a context."""

    kind: ClassVar[int]


@dataclass(frozen=True)
class OwnLabels(LabelPolicy):
    r"""The latest known labels of the seed's own entity. They may also take the
    cells that the database cannot fill.
    """

    kind: ClassVar[int] = KIND_OWN


@dataclass(frozen=True)
class RecentLabels(LabelPolicy):
    r"""The latest known rows of the task table, each with its entity and the
    parents of that, but no children; their cells count towards the share.
    """

    kind: ClassVar[int] = KIND_RECENT


@dataclass(frozen=True)
class RandomLabels(LabelPolicy):
    r"""Random known rows of the task table, each with its entity and the parents
    of that, but no children; their cells count towards the share.
    """

    kind: ClassVar[int] = KIND_RANDOM


ContextPolicy = LocalNeighborhood | History | LabelPolicy
