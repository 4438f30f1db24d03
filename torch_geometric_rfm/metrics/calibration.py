r"""Whether probabilities and intervals say how often they are right."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
_LARGEST = 20.0


def fit_temperature(logits: Floats, label: Floats) -> tuple[float, Floats]:
    r"""The temperature by which logits are divided, and the bias that is then added to
    them, to have the least log loss: temperature scaling as in the `"On Calibration of
    Modern Neural Networks" <https://arxiv.org/abs/1706.04599>`_ paper, with the bias of
    the `"Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label
    Shift Adaptation" <https://arxiv.org/abs/1901.06852>`_ paper, without which a model
    that says too much of one class becomes less certain of all.

    The bias has a standard normal prior, which counts as much as one row. Both, one or
    neither are fitted, by Schwarz's criterion (`"Estimating the Dimension of a Model"
    <https://doi.org/10.1214/aos/1176344136>`_): what few rows say by chance would make
    good probabilities worse.

    Args:
        logits: :obj:`[n]` logits of true, or :obj:`[n, classes]`.
        label: :obj:`[n]` zeros and ones, or numbers of classes; rows of a class
            beyond the logits do not count.

    Returns:
        The temperature, between 1/20 and 20, and the bias, of true :obj:`[]` or of
        each class :obj:`[classes]`; 1 and zero where rows do not speak against it.

    Example:
        >>> logits = np.repeat([3.0, -3.0], 40)
        >>> label = np.repeat([1, 1, 1, 0, 0, 0, 0, 1], 10)
        >>> temperature, bias = fit_temperature(logits, label)
        >>> round(temperature, 2), float(bias)
        (2.73, 0.0)
    """
    scores = torch.tensor(logits, dtype=torch.float64)
    truth = torch.tensor(label, dtype=torch.float64)
    if scores.dim() > 1:
        counts = truth < scores.size(1)
        scores, truth = scores[counts], truth[counts]
    size = truth.numel()
    best: tuple[float, Floats] = 1.0, np.zeros(scores.shape[1:])
    if size == 0:
        return best
    least = size * float(_log_loss(scores, truth))
    # A bias of classes that do not occur is left to its prior.
    bias_size = 1 if scores.dim() == 1 else max(truth.unique().numel() - 1, 1)
    for with_temperature, with_bias in ((True, False), (False, True), (True, True)):
        loss, temperature, bias = _fit(scores, truth, with_temperature, with_bias)
        num_parameters = with_temperature + with_bias * bias_size
        cost = size * loss + 0.5 * num_parameters * float(np.log(size))
        if cost < least:
            least, best = cost, (temperature, bias)
    return best


def _fit(
    scores: Tensor, truth: Tensor, with_temperature: bool, with_bias: bool
) -> tuple[float, float, Floats]:
    # The loss, the temperature and the bias that minimise it.
    bias = torch.zeros(scores.shape[1:], dtype=torch.float64)
    log_temperature = torch.zeros((), dtype=torch.float64)
    fitted = [log_temperature] * with_temperature + [bias] * with_bias
    for parameter in fitted:
        parameter.requires_grad_()
    limit = float(np.log(_LARGEST))

    def loss() -> Tensor:
        scaled = scores * (-log_temperature.clamp(-limit, limit)).exp() + bias
        return _log_loss(scaled, truth) + 0.5 * bias.square().sum() / truth.numel()

    optimizer = torch.optim.LBFGS(
        fitted,
        max_iter=200,
        tolerance_grad=1e-9,
        line_search_fn='strong_wolfe',
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
        reached = float(loss().detach())
    temperature = float(log_temperature.detach().clamp(-limit, limit).exp())
    return reached, temperature, bias.detach().numpy()


def _log_loss(scores: Tensor, truth: Tensor) -> Tensor:
    if scores.dim() == 1:
        return F.binary_cross_entropy_with_logits(scores, truth)
    return F.cross_entropy(scores, truth.long())


def calibration_error(probability: Floats, label: Floats, num_bins: int = 15) -> float:
    r"""The expected calibration error: the mean distance between probability and
    frequency, in bins of equal numbers of rows.

    Args:
        probability: :obj:`[n]` of true, or :obj:`[n, classes]`, of which the largest
            counts.
        label: :obj:`[n]` zeros and ones, or numbers of classes.
        num_bins: Bins. (default: :obj:`15`)

    Example:
        >>> calibration_error(np.full(4, 0.75), np.array([1.0, 1.0, 1.0, 0.0]))
        0.0
    """
    confidence, hit = _confidence(probability, label)
    # Rows of equal probability share a bin, wherever they stand.
    edges = np.quantile(confidence, np.linspace(0, 1, num_bins + 1)[1:-1])
    place = np.searchsorted(edges, confidence, side='left')
    gap = np.bincount(place, weights=hit - confidence)
    return float(np.abs(gap).sum() / len(confidence))


def perfect_calibration_error(
    probability: Floats,
    num_bins: int = 15,
    level: float = 0.95,
    num_draws: int = 1000,
    seed: int = 0,
) -> float:
    r"""What :func:`calibration_error` stays below with probability :obj:`level` if
    labels are drawn from these very probabilities.

    Args:
        probability: :obj:`[n]` of true, or :obj:`[n, classes]`.
        num_bins: Bins. (default: :obj:`15`)
        level: The quantile of the draws. (default: :obj:`0.95`)
        num_draws: Draws. (default: :obj:`1000`)
        seed: Seed of the draws. (default: :obj:`0`)

    Example:
        >>> perfect_calibration_error(np.full(10_000, 0.5)) < 0.02
        True
    """
    rng = np.random.default_rng(seed)
    # Whether the predicted class is right is all that counts.
    top = probability if probability.ndim == 1 else probability.max(axis=1)
    draws = [
        calibration_error(top, (rng.random(len(top)) < top).astype(float), num_bins)
        for _ in range(num_draws)
    ]
    return float(np.quantile(draws, level))


def coverage(label: Floats, lower: Floats, upper: Floats) -> tuple[float, float]:
    r"""The share of labels within their intervals, and its standard error.

    Args:
        label: :obj:`[n]` numbers.
        lower: :obj:`[n]` lower ends of the intervals, which belong to them.
        upper: :obj:`[n]` upper ends.

    Example:
        >>> coverage(np.array([1.0, 5.0]), np.zeros(2), np.array([2.0, 2.0]))
        (0.5, 0.35...)
    """
    share = float(((label >= lower) & (label <= upper)).mean())
    return share, float(np.sqrt(share * (1 - share) / len(label)))


def _confidence(probability: Floats, label: Floats) -> tuple[Floats, Floats]:
    if len(probability) != len(label) or len(label) == 0:
        raise ValueError(
            f"'probability' and 'label' must have as many rows, and some (got "
            f'{len(probability)} and {len(label)})'
        )
    if probability.ndim == 1:
        return probability, label
    hit = (probability.argmax(axis=1) == label).astype(np.float64)
    return probability.max(axis=1), hit
