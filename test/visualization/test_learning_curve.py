import pytest

from torch_geometric_rfm.visualization import plot_learning_curve


def write(path, text):
    path.write_text(text)
    return path


def titles(figure):
    return [axes.get_title(loc='left') for axes in figure.axes]


def test_panels_best_value_and_gaps(tmp_path):
    path = write(
        tmp_path / 'metrics.csv',
        'step,seconds,train_loss,val_roc_auc,val_mae,learning_rate\n'
        '10,5.0,0.7,,0.9,0.001\n'
        '20,9.5,0.6,0.81,,0.002\n'
        '30,14.0,0.5,0.79,0.4,0.001\n',
    )
    figure = plot_learning_curve(path, tmp_path / 'curve.png')
    assert titles(figure) == [
        'training loss',
        'roc_auc on the val split (higher is better)',
        'mae on the val split (lower is better)',
    ]
    loss, auc, mae = figure.axes
    assert loss.lines[0].get_xydata().tolist() == [[10, 0.7], [20, 0.6], [30, 0.5]]
    # What was not measured is left out, not drawn as zero.
    assert auc.lines[0].get_xydata().tolist() == [[20, 0.81], [30, 0.79]]
    assert auc.texts[0].get_text() == 'best 0.8100'
    assert mae.texts[0].get_text() == 'best 0.4000'
    assert (tmp_path / 'curve.png').stat().st_size > 0


def test_minutes_stand_above_the_steps(tmp_path):
    path = write(tmp_path / 'metrics.csv', 'step,seconds,train_loss\n0,0,1\n9,60,0\n')
    figure = plot_learning_curve(path)
    figure.draw_without_rendering()
    (top,) = figure.axes[0].child_axes
    first, last = figure.axes[0].get_xlim()
    assert top.get_xlim() == pytest.approx((first / 9, last / 9))


def test_minutes_of_steps_that_took_long_do_not_overlap(tmp_path):
    rows = '0,1,0.9\n72,6,0.8\n135,11,0.7\n207,16,0.6\n287,39,0.5\n292,86,0.4\n'
    path = write(tmp_path / 'metrics.csv', 'step,seconds,train_loss\n' + rows)
    figure = plot_learning_curve(path)
    figure.draw_without_rendering()
    (top,) = figure.axes[0].child_axes
    boxes = [label.get_window_extent() for label in top.get_xticklabels()]
    assert len(boxes) >= 2
    assert all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:]))


@pytest.mark.parametrize('lines', ['5,2,0.5\n', '5,2,0.5\n5,3,0.4\n'])
def test_runs_too_short_for_a_scale_of_minutes(tmp_path, lines):
    path = write(tmp_path / 'metrics.csv', 'step,seconds,train_loss\n' + lines)
    figure = plot_learning_curve(path, tmp_path / 'curve.png')
    assert figure.axes[0].child_axes == []


def test_a_metric_that_was_never_measured(tmp_path):
    path = write(tmp_path / 'metrics.csv', 'step,train_loss,val_mae\n1,0.5,\n2,0.4,\n')
    figure = plot_learning_curve(path, tmp_path / 'curve.png')
    assert figure.axes[1].texts == pytest.approx([])


def test_odd_files(tmp_path):
    lacking = write(tmp_path / 'lacking.csv', 'step,loss\n1,2\n')
    with pytest.raises(
        ValueError, match=r"lacks the column 'train_loss' \(columns are: "
    ):
        plot_learning_curve(lacking)
    empty = write(tmp_path / 'empty.csv', 'step,seconds,train_loss\n')
    with pytest.raises(ValueError, match='has no lines'):
        plot_learning_curve(empty)
