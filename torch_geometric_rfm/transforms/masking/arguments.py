r"""The arguments of MaskCells, checked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.transforms.masking.mask_strategy import (
    STRATEGIES,
    MaskStrategy,
)


def check_rate(rate: Any) -> tuple[float, float]:
    r"""The lowest and the highest rate."""
    pair = rate if isinstance(rate, (tuple, list)) else (rate, rate)
    if len(pair) != 2 or not all(0.0 < value < 1.0 for value in pair):
        raise ValueError(
            f"'rate' must lie strictly between 0 and 1, or be a range of two such "
            f"(got {rate}); use strategy='target' to hide the label only"
        )
    low, high = pair
    if low > high:
        raise ValueError(f"'rate' must be a range from low to high (got {rate})")
    return float(low), float(high)


def check_corruption(corruption: Any) -> tuple[float, float, float]:
    r"""The shares of cells that are hidden, given a random value, and left."""
    if not isinstance(corruption, (tuple, list)) or len(corruption) != 3:
        raise ValueError(
            f"'corruption' must hold three shares, for cells that are hidden, given a "
            f'random value, and left as they are (got {corruption})'
        )
    shares = [float(share) for share in corruption]
    if min(shares) < 0 or not abs(sum(shares) - 1.0) < 1e-6:
        raise ValueError(
            f"'corruption' must hold shares of at least 0 that sum to 1 (got "
            f'{corruption}, which sums to {sum(shares):g})'
        )
    return shares[0], shares[1], shares[2]


def check_strategies(strategy: Any) -> list[tuple[MaskStrategy, float]]:
    r"""Strategies and their weights, which sum to 1."""
    if isinstance(strategy, Mapping):
        strategy = list(strategy.items())
    if isinstance(strategy, (str, MaskStrategy)):
        return [(_strategy(strategy), 1.0)]
    is_list = isinstance(strategy, Sequence) and len(strategy) > 0
    if not is_list or not all(
        isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in strategy
    ):
        raise ValueError(
            f"'strategy' must be a name, a MaskStrategy, or a dict or list of "
            f"strategies and weights, such as {{'uniform': 0.5, 'row': 0.5}} (got "
            f'{strategy!r})'
        )
    weights = [float(weight) for _, weight in strategy]
    total = sum(weights)
    if min(weights) < 0 or not 0 < total < math.inf:
        raise ValueError(
            f"the weights of 'strategy' must be at least 0, and one of them above (got "
            f'{weights})'
        )
    return [(_strategy(name), weight / total) for name, weight in strategy]


def _strategy(strategy: Any) -> MaskStrategy:
    if isinstance(strategy, MaskStrategy):
        return strategy
    if strategy not in STRATEGIES:
        known = ', '.join(map(repr, sorted(STRATEGIES)))
        raise ValueError(f"'strategy' must be one of {known} (got {strategy!r})")
    return STRATEGIES[strategy]()


def check_cell_types(cell_types: Any) -> frozenset[CellType]:
    r"""The cell types that may be hidden."""
    if cell_types is None:
        return frozenset(CellType)
    if isinstance(cell_types, str) or len(list(cell_types)) == 0:
        raise ValueError(
            f"'cell_types' must name at least one cell type, in a list (got "
            f'{cell_types!r}); leave it out to hide cells of all types'
        )
    return frozenset(
        CellType.from_name(t) if isinstance(t, str) else CellType(t) for t in cell_types
    )


def check_columns(columns: Any) -> frozenset[str] | None:
    r"""The phrases of the columns that may be hidden, or :obj:`None` for all."""
    if columns is None:
        return None
    if isinstance(columns, str) or len(list(columns)) == 0:
        raise ValueError(
            f"'columns' must hold at least one phrase '<column> of <table>', in a list "
            f'(got {columns!r}); leave it out to hide cells of all columns'
        )
    return frozenset(columns)


def chosen_columns(columns: frozenset[str] | None, known: Sequence[str]) -> list[bool]:
    r"""Whether each of the known columns may be hidden."""
    if columns is None:
        return [True] * len(known)
    unknown = sorted(columns.difference(known))
    if unknown:
        raise ValueError(
            f"'columns' must be of the database (got {', '.join(map(repr, unknown))}, "
            f'known are: {", ".join(map(repr, sorted(set(known))))})'
        )
    return [name in columns for name in known]
