from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def encode_classes(
    labels: Any, is_train: Any, classes: Sequence[Any] | None = None
) -> tuple[NDArray[np.float64], list[str], list[str]]:
    r"""Numbers the classes of a task.

    Args:
        labels: :obj:`[n]` strings, numbers or booleans, missing where unknown.
        is_train: :obj:`[n]` rows of the train split.
        classes: The classes that may be predicted; those of train rows, in
            alphabetical order, if not given.

    Returns:
        :obj:`[n]` numbers of the classes, NaN where unknown; the classes that may
        be predicted; and further ones, which come after them in these numbers.

    Raises:
        ValueError: If classes are given twice, or there are less than two.

    Example:
        >>> encode_classes(['b', 'a', None, 'c'], [True, True, True, False])
        (array([ 1.,  0., nan,  2.]), ['a', 'b'], ['c'])
    """
    series = pd.Series(labels, dtype=object).reset_index(drop=True)
    present = series.notna().to_numpy()
    names = np.array([_name(value) for value in series[present]], dtype=object)
    if classes is None:
        known = sorted(set(names[np.asarray(is_train, dtype=bool)[present]]))
    else:
        known = [_name(value) for value in classes]
    repeated = [name for name in known if known.count(name) > 1]
    if repeated:
        raise ValueError(f"'classes' must differ (got {repeated[0]!r} twice)")
    if len(known) < 2:
        raise ValueError(
            f'there must be at least two classes to choose from (got {known}); name '
            "more in 'classes', or drop the task"
        )
    others = sorted(set(names) - set(known))
    number = {name: i for i, name in enumerate([*known, *others])}
    code = np.full(len(series), np.nan)
    code[present] = [number[name] for name in names]
    return code, known, others


def _name(value: Any) -> str:
    # 2.0 and 2 are the same class: a column with a null holds floats.
    whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
    return str(int(value)) if whole else str(value)
