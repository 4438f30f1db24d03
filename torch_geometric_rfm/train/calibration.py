from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.metrics import shifted_quantiles
from torch_geometric_rfm.nn.number_head import LEVELS

Floats = NDArray[np.float64]


@dataclass
class Calibration:
    r"""What makes the probabilities, or the intervals, of a task hold as often as they
    say, or its numbers whole; as it is, it changes nothing.

    Args:
        temperature: What logits are divided by.
        bias: What is then added to them: a number, or one of each class.
        shifts: What is added to the quantiles at the levels 5 %, 10 %, ..., 95 %, in
            the unit of the label.
        whole: Whether predicted numbers are rounded to whole ones.

    Example:
        >>> Calibration(temperature=2.0, bias=1.0).scale(np.array([4.0]))
        array([3.])
        >>> Calibration(shifts=[0.5] * 19).shift(np.array([[1.0, 2.0]]), [0.25, 0.75])
        array([[1.5, 2.5]])
        >>> Calibration(whole=True).round(np.array([0.2, 1.7]))
        array([0., 2.])
    """

    temperature: float = 1.0
    bias: float | list[float] = 0.0
    shifts: list[float] | None = None
    whole: bool = False

    def scale(self, logits: Floats) -> Floats:
        r"""Logits that say how likely they are."""
        return logits / self.temperature + np.asarray(self.bias)

    def shift(self, quantiles: Floats, levels: list[float]) -> Floats:
        r"""Quantiles :obj:`[n, len(levels)]` that hold, and do not cross; see
        :func:`~torch_geometric_rfm.metrics.shifted_quantiles`.
        """
        if self.shifts is None:
            return quantiles
        return shifted_quantiles(
            quantiles, np.array(levels), np.array(self.shifts), np.array(LEVELS)
        )

    def round(self, numbers: Floats) -> Floats:
        r"""Numbers, whole ones if they shall be."""
        return np.round(numbers) if self.whole else numbers

    def __str__(self) -> str:
        if self.whole:
            return 'rounded to whole numbers'
        if self == Calibration():
            return 'left as it is'
        if self.shifts is None:
            bias = np.array2string(np.asarray(self.bias), precision=3)
            return f'temperature {self.temperature:.3f}, bias {bias}'
        return (
            f'quantiles shifted by {self.shifts[0]:+.3g} (5 %) to '
            f'{self.shifts[-1]:+.3g} (95 %)'
        )
