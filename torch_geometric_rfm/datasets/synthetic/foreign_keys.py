r"""Which parent each row belongs to: clustered, heavy-tailed, and null at times."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PARETO = 2.5
_STAY = 0.9  # Probability of staying in the own half, at each level.


@dataclass
class ParentChoice:
    r"""How the rows of a table choose their parents over one foreign key.

    Args:
        num_levels: Levels of the hierarchical stochastic block model, a binary
            tree of :math:`2^{levels}` blocks.
        inactive: Share of parents that have no children.
        null_share: Share of rows without a parent.
    """

    num_levels: int
    inactive: float
    null_share: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, max_inactive: float, max_null_share: float
    ) -> 'ParentChoice':
        r"""A random one."""
        null_share = rng.uniform(0, max_null_share) if rng.random() < 0.4 else 0.0
        inactive = float(rng.uniform(0, max_inactive))
        return cls(int(rng.integers(1, 6)), inactive, float(null_share))

    def attractiveness(
        self, num_parents: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        r"""How often each parent is chosen, heavy-tailed, zero if inactive."""
        weight = rng.pareto(_PARETO, num_parents) + 0.1
        num_inactive = min(int(self.inactive * num_parents), num_parents - 1)
        weight[rng.permutation(num_parents)[:num_inactive]] = 0.0
        return weight

    def choose(
        self,
        community: NDArray[np.float64],
        parent_community: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        r"""The parent of each row, mostly of its own block, -1 where null.

        Args:
            community: :obj:`[rows]` places in :math:`[0, 1)`.
            parent_community: :obj:`[parents]` places in :math:`[0, 1)`.
            rng: The source of randomness.
        """
        num_blocks = 2**self.num_levels
        block = (community * num_blocks).astype(np.int64)
        for level in range(self.num_levels):
            moves = rng.random(len(block)) > _STAY
            block ^= moves.astype(np.int64) << level
        weight = self.attractiveness(len(parent_community), rng)
        parent_block = (parent_community * num_blocks).astype(np.int64)
        order = np.argsort(parent_block, kind='stable')
        total = np.concatenate([[0.0], np.cumsum(weight[order])])
        start = np.searchsorted(parent_block[order], np.arange(num_blocks + 1))
        low, high = total[start[block]], total[start[block + 1]]
        # Where no parent of the block is active, all parents are eligible.
        empty = high <= low
        low, high = np.where(empty, 0.0, low), np.where(empty, total[-1], high)
        at = low + (high - low) * rng.random(len(block))
        place = np.searchsorted(total, at, side='right') - 1
        parent = order[np.clip(place, 0, len(order) - 1)]
        return self.with_nulls(parent, rng)

    def with_nulls(
        self, parent: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        r"""The parents, with some keys made null."""
        return np.where(rng.random(len(parent)) < self.null_share, -1, parent)
