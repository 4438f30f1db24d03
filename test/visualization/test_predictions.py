import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from torch_geometric_rfm.visualization import plot_predictions
from torch_geometric_rfm.visualization.predictions import roc_points


def frame_of(size, binary=True, seed=0):
    rng = np.random.default_rng(seed)
    prediction = rng.random(size).round(2)
    label = prediction + rng.normal(size=size)
    if binary:
        label = (rng.random(size) < prediction).astype(float)
    return pd.DataFrame({'prediction': prediction, 'label': label})


def test_binary(tmp_path):
    frame = frame_of(500)
    figure = plot_predictions(
        frame, 'binary_classification', tmp_path / 'new' / 'p.png'
    )
    area = roc_auc_score(frame['label'], frame['prediction'])
    left, right = figure.axes
    assert left.get_title(loc='left') == f'ROC curve: area {area:.3f}'
    said, came = right.containers[0].lines[0].get_data()
    assert len(said) == 10
    # Bins hold 50 rows each, so that their means add up to the whole.
    assert np.mean(said) == pytest.approx(frame['prediction'].mean())
    assert np.mean(came) == pytest.approx(frame['label'].mean())
    assert (tmp_path / 'new' / 'p.png').stat().st_size > 0


@pytest.mark.parametrize('seed', range(5))
def test_roc_points_with_ties(seed):
    frame = frame_of(60, seed=seed).round(1)
    fpr, tpr = roc_points(frame['label'].to_numpy(), frame['prediction'].to_numpy())
    area = np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2)
    expected = roc_auc_score(frame['label'], frame['prediction'])
    assert area == pytest.approx(expected, abs=1e-12)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)


def test_regression(tmp_path):
    frame = frame_of(300, binary=False)
    frame.loc[3, 'label'] = np.nan
    figure = plot_predictions(frame, 'regression', tmp_path / 'p.png')
    error = (frame['label'] - frame['prediction']).dropna()
    left, right = figure.axes
    assert f'mean absolute error {error.abs().mean():.4g}' in left.get_title(loc='left')
    assert len(left.collections[0].get_offsets()) == 299
    shown = right.collections[0].get_offsets()[:, 1]
    np.testing.assert_allclose(shown, error)
    assert (tmp_path / 'p.png').stat().st_size > 0


@pytest.mark.parametrize('binary', [True, False])
def test_two_rows_suffice(tmp_path, binary):
    frame = pd.DataFrame({'prediction': [0.5, 0.5], 'label': [0, 1]})
    task_type = 'binary_classification' if binary else 'regression'
    figure = plot_predictions(frame, task_type, tmp_path / 'p.png')
    assert len(figure.axes) == 2


@pytest.mark.parametrize(
    ('columns', 'task_type', 'message'),
    [
        ({'prediction': [1.0]}, 'regression', "no column 'label'"),
        ({'prediction': [1.0], 'label': [None]}, 'regression', 'no row with both'),
        ({'prediction': [1.0], 'label': [1.0]}, 'ranking', r"\(got 'ranking'\)"),
        (
            {'prediction': [0.1, 0.2], 'label': [1, 1]},
            'binary_classification',
            r'both of them \(got \[1.0\]\)',
        ),
        (
            {'prediction': [-0.5, 2.0], 'label': [0, 1]},
            'binary_classification',
            r'must be probabilities \(got -0.5 to 2\)',
        ),
    ],
)
def test_what_cannot_be_drawn(columns, task_type, message):
    with pytest.raises(ValueError, match=message):
        plot_predictions(pd.DataFrame(columns), task_type)
