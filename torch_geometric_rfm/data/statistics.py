import numpy as np
from numpy.typing import NDArray

MAX_SCORE = 1e4
r"""Normalised numbers are clipped here: they stay finite in any precision."""


def mean_and_std(values: NDArray[np.float64]) -> tuple[float, float]:
    r"""Mean and standard deviation (:obj:`ddof=1`) of the present values.

    A column without values has mean 0 and standard deviation 1, a constant
    one has standard deviation 1, so that it normalises to zero.
    """
    present = values[~np.isnan(values)] if values.dtype.kind == 'f' else values
    if present.size == 0:
        return 0.0, 1.0
    # Scaling first keeps squares of huge numbers finite.
    scale = max(float(np.abs(present).max()), 1e-300)
    scaled = present.astype(np.float64) / scale
    mean = float(scaled.mean()) * scale
    if present.size == 1:
        return mean, 1.0
    std = float(scaled.std(ddof=1)) * scale
    return mean, std if std > 1e-9 * abs(mean) else 1.0


def normalise(
    values: NDArray[np.float64], mean: float, std: float
) -> NDArray[np.float64]:
    r"""Z-scores, clipped to :math:`\pm 10^4`; NaN stays NaN."""
    return np.clip((values - mean) / std, -MAX_SCORE, MAX_SCORE)
