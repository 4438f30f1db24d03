import numba
import numpy as np


@numba.njit(cache=True)
def running(values: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    r"""Aggregates of a column up to each line, begun anew where a key begins.

    Args:
        values: :obj:`[n]` values, NaN where there is none.
        is_first: :obj:`[n]` whether a line is the first of its key.

    Returns:
        :obj:`[6, n]`: counts, sums, sums of squares, least, greatest and last values.
    """
    out = np.empty((6, len(values)))
    count = total = squares = 0.0
    least = greatest = last = np.nan
    for i in range(len(values)):
        if is_first[i]:
            count = total = squares = 0.0
            least = greatest = last = np.nan
        value = values[i]
        if not np.isnan(value):
            count += 1
            total += value
            squares += value * value
            least = value if np.isnan(least) else min(least, value)
            greatest = value if np.isnan(greatest) else max(greatest, value)
            last = value
        out[0, i], out[1, i], out[2, i] = count, total, squares
        out[3, i], out[4, i], out[5, i] = least, greatest, last
    return out


def find_ends(
    line_key: np.ndarray, line_time: np.ndarray, key: np.ndarray, until: np.ndarray
) -> np.ndarray:
    r""":obj:`[m]` how many lines come before the end of what each question may see:
    those of lesser keys, and those of its key up to its time.

    Args:
        line_key, line_time: :obj:`[n]` keys and times of lines, in their order.
        key, until: :obj:`[m]` keys and times of questions.
    """
    is_question = np.repeat([False, True], [len(line_key), len(key)])
    times = np.concatenate([line_time, until])
    order = np.lexsort((is_question, times, np.concatenate([line_key, key])))
    before = np.cumsum(~is_question[order])
    ends = np.empty(len(order), dtype=np.int64)
    ends[order] = before
    return ends[len(line_key) :]
