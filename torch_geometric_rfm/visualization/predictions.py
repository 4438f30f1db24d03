from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torch_geometric_rfm.visualization.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    new_figure,
    save,
    tidy,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Vector = NDArray[np.float64]


def plot_predictions(
    frame: 'pd.DataFrame', task_type: str, path: Any = None
) -> 'Figure':
    r"""Draws how good predictions are.

    For regression the truth against the prediction, and the error against the
    prediction, the outermost 0.2 % on either side left out; for binary tasks
    the ROC curve, and the reliability: how often it was true where the model
    said 10 %, 20 % and so on.

    Args:
        frame (pd.DataFrame): Columns :obj:`prediction` (a number, or the
            probability of true) and :obj:`label`; rows without label are
            left out.
        task_type (str): :obj:`"regression"` or
            :obj:`"binary_classification"`.
        path (str, optional): Where the picture is saved.
            (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a column is missing, or there is nothing to compare.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({'prediction': [0.2, 0.7, 0.9], 'label': [0, 0, 1]})
        >>> plot_predictions(frame, 'binary_classification').axes[0].get_title('left')
        'ROC curve: area 1.000'
    """
    task_type = getattr(task_type, 'value', task_type)
    if task_type not in ('regression', 'binary_classification'):
        raise ValueError(
            f"task_type must be 'regression' or 'binary_classification' (got "
            f'{task_type!r})'
        )
    label, prediction = _compared(frame)
    binary = task_type == 'binary_classification'
    if binary:
        _check_binary(label, prediction)
    figure = new_figure(11, 4.8)
    left, right = figure.subplots(1, 2)
    if binary:
        _draw_roc(left, label, prediction)
        _draw_reliability(right, label, prediction)
    else:
        _draw_identity(left, label, prediction)
        _draw_errors(right, label, prediction)
    return save(figure, path)


def roc_points(label: Vector, score: Vector) -> tuple[Vector, Vector]:
    r"""The corners of the ROC curve, equal scores taken together.

    Args:
        label: :obj:`[n]` zeros and ones, both present.
        score: :obj:`[n]` the higher, the likelier.

    Returns:
        False and true positive rates, from :math:`(0, 0)` to :math:`(1, 1)`.

    Example:
        >>> fpr, tpr = roc_points(np.array([0.0, 1.0]), np.array([0.3, 0.3]))
        >>> fpr.tolist(), tpr.tolist()
        ([0.0, 1.0], [0.0, 1.0])
    """
    order = np.argsort(-score, kind='stable')
    label, score = label[order], score[order]
    corner = np.append(score[1:] != score[:-1], True)
    true, false = np.cumsum(label)[corner], np.cumsum(1 - label)[corner]
    return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])


def _compared(frame: 'pd.DataFrame') -> tuple[Vector, Vector]:
    for column in ('prediction', 'label'):
        if column not in frame:
            raise ValueError(
                f"frame has no column '{column}' (columns are: "
                f'{", ".join(map(str, frame.columns))})'
            )
    label = frame['label'].to_numpy(dtype=np.float64)
    prediction = frame['prediction'].to_numpy(dtype=np.float64)
    known = np.isfinite(label) & np.isfinite(prediction)
    if not known.any():
        raise ValueError('frame has no row with both a label and a prediction')
    return label[known], prediction[known]


def _check_binary(label: Vector, prediction: Vector) -> None:
    if not np.isin(label, (0, 1)).all() or np.unique(label).size < 2:
        raise ValueError(
            f'labels of a binary task must be 0 and 1, both of them (got '
            f'{np.unique(label)[:5].tolist()})'
        )
    if prediction.min() < 0 or prediction.max() > 1:
        raise ValueError(
            f'predictions of a binary task must be probabilities (got '
            f'{prediction.min():g} to {prediction.max():g})'
        )


def _draw_roc(axes: 'Axes', label: Vector, prediction: Vector) -> None:
    fpr, tpr = roc_points(label, prediction)
    area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
    tidy(
        axes,
        f'ROC curve: area {area:.3f}',
        'false positive rate (false alarms)',
        'true positive rate (hits)',
    )
    _diagonal(axes, 'guessing')
    axes.plot(fpr, tpr, color=BLUE, linewidth=2)
    axes.fill_between(fpr, tpr, color=BLUE, alpha=0.08, linewidth=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect='equal')
    _percent(axes)


def _draw_reliability(axes: 'Axes', label: Vector, prediction: Vector) -> None:
    # Bins of equal number of rows: each point is about as sure as the others.
    num_bins = int(np.clip(label.size // 20, 1, 10))
    bins = np.array_split(np.argsort(prediction, kind='stable'), num_bins)
    said = np.array([prediction[rows].mean() for rows in bins])
    came = np.array([label[rows].mean() for rows in bins])
    size = np.array([rows.size for rows in bins])
    # Two pseudo-rows keep the error of bins without a single true row above zero.
    smooth = (came * size + 1) / (size + 2)
    error = np.sqrt(smooth * (1 - smooth) / size)
    tidy(
        axes,
        f'Reliability: {label.size:,} rows, {label.mean():.1%} true',
        'predicted probability',
        'share that came true',
    )
    _diagonal(axes, 'perfect')
    axes.errorbar(
        said, came, 1.96 * error, color=ORANGE, marker='o', markersize=5, linewidth=1.5
    )
    height, edges = np.histogram(prediction, bins=25, range=(0, 1))
    axes.bar(
        edges[:-1],
        0.15 * height / height.max(),
        width=np.diff(edges),
        align='edge',
        color=GREY,
        alpha=0.35,
        linewidth=0,
    )
    axes.annotate(
        'how often it was said', (0.99, 0.165), color=GREY, fontsize=8, ha='right'
    )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect='equal')
    _percent(axes)


def _diagonal(axes: 'Axes', name: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle='--')
    axes.annotate(
        name,
        (0.78, 0.73),
        color=GREY,
        fontsize=9,
        rotation=45,
        ha='center',
        va='center',
    )


def _percent(axes: 'Axes') -> None:
    ticks = [0, 0.25, 0.5, 0.75, 1]
    words = [f'{tick:.0%}' for tick in ticks]
    axes.set_xticks(ticks, words)
    axes.set_yticks(ticks, words)


def _draw_identity(axes: 'Axes', label: Vector, prediction: Vector) -> None:
    error = np.abs(label - prediction).mean()
    tidy(
        axes,
        f'Truth and prediction: mean absolute error {error:.4g}',
        'prediction',
        'truth',
    )
    low, high = _range(np.concatenate([label, prediction]))
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle='--')
    axes.scatter(prediction, label, color=BLUE, **_dots(label.size))
    axes.set(xlim=(low, high), ylim=(low, high))


def _draw_errors(axes: 'Axes', label: Vector, prediction: Vector) -> None:
    error = label - prediction
    tidy(
        axes,
        f'Errors: mean {error.mean():+.3g}, {label.size:,} rows',
        'prediction',
        'truth − prediction',
    )
    axes.axhline(0, color=GREY, linewidth=1, linestyle='--')
    axes.scatter(prediction, error, color=BLUE, **_dots(label.size))
    bins = np.array_split(np.argsort(prediction), int(np.clip(label.size // 20, 1, 12)))
    middle = [np.median(prediction[rows]) for rows in bins]
    for share, style in ((0.5, '-'), (0.1, ':'), (0.9, ':')):
        line = [np.quantile(error[rows], share) for rows in bins]
        name = {0.5: 'median', 0.1: '10 % and 90 %'}.get(share)
        axes.plot(
            middle, line, color=ORANGE, linestyle=style, linewidth=1.8, label=name
        )
    axes.set(xlim=_range(prediction), ylim=_range(error))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc='best')


def _range(values: Vector) -> tuple[float, float]:
    # A handful of outliers must not squeeze the rest into a corner.
    low, high = np.quantile(values, [0.002, 0.998])
    margin = 0.04 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _dots(count: int) -> dict[str, Any]:
    return {
        's': 12,
        'alpha': float(np.clip(150 / count, 0.05, 0.6)),
        'linewidth': 0,
        'rasterized': count > 2000,
    }
