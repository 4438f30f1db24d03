import numpy as np
import pytest
import torch

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.data import CellType, Task
from torch_geometric_rfm.metrics import evaluate_baselines
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_database, toy_task, toy_task_store
from torch_geometric_rfm.testing.known_answer import known_answer


def tiny_model(text_channels=384, **kwargs):
    torch.manual_seed(0)
    config = {'channels': 32, 'num_layers': 1, 'heads': 2, 'ff_channels': 32}
    return RelationalTransformer.small(
        **(config | {'text_channels': text_channels} | kwargs)
    )


def test_multiclass_from_fit_to_a_saved_predictor(tmp_path):
    # The class of a customer never changes: its earlier labels give it away.
    task = toy_task(kind='multiclass')
    task.frame['label'] = (task.frame['entity'] % 3).astype(float)
    store = toy_task_store().store.with_task(task)
    sampling = {'num_cells': 16, 'own_labels': 0.5}
    predictor = RelationalPredictor(tiny_model(), 'hashing', **sampling)
    store.store.text_encoder = predictor.text_encoder
    result = predictor.fit_stores(
        [store],
        tmp_path / 'run',
        show_progress=False,
        minutes=None,
        num_steps=80,
        batch_size=8,
        lr=1e-2,
        num_evals=2,
    )
    assert result.metrics[task.name]['accuracy'] > 0.9
    assert {'train_category_loss', 'train_category_recall@1', 'train_skipped'} <= set(
        result.history[0]
    )
    probability = predictor.predict_rows(store, 'test')
    assert probability.shape == (90, 3)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    figures = task.evaluate(probability, 'test')
    baselines = evaluate_baselines(store, 'test')
    assert figures['log_loss'] < baselines['class_frequency']['log_loss']
    assert baselines['entity_class_frequency']['accuracy'] > 0.95

    # Right, and far too modest:
    with torch.no_grad():
        predictor.model.decoder.lins['text'].weight.mul_(0.05)
        predictor.model.decoder.lins['text'].bias.mul_(0.05)
        predictor.model.copy_attention.text_scale.sub_(3.0)
    calibration = predictor.calibrate_rows(store)
    assert calibration.temperature < 0.5
    assert len(calibration.bias) == 3
    kept = predictor.calibrations
    assert list(kept.values()) == [calibration]
    scaled = predictor.predict_rows(store, 'val')
    predictor.calibrations = {}
    plain = predictor.predict_rows(store, 'val')
    scores = [task.evaluate(p, 'val') for p in (scaled, plain)]
    assert scores[0]['log_loss'] <= scores[1]['log_loss']

    predictor.calibrations = kept
    predictor.save_pretrained(tmp_path / 'run')
    loaded = RelationalPredictor.from_pretrained(tmp_path / 'run')
    store.store.text_encoder = loaded.text_encoder
    assert loaded.calibrations == kept
    np.testing.assert_allclose(loaded.predict_rows(store, 'val'), scaled, atol=1e-6)


def test_frame_of_predictions():
    db = toy_database()
    predictor = RelationalPredictor(
        tiny_model(number_head='quantile'), 'hashing', num_cells=16
    )
    frame = predictor.predict(db, toy_task(kind='multiclass'))
    names = [f'probability_{name}' for name in ('none', 'small', 'large')]
    assert list(frame)[2:] == ['prediction', *names]
    best = frame[names].idxmax(axis=1).str.removeprefix('probability_')
    assert (frame['prediction'] == best).all()

    task = toy_task(kind='regression')
    frame = predictor.predict(db, task, interval=0.8)
    assert list(frame)[2:] == ['prediction', 'lower', 'upper']
    assert (frame['lower'] <= frame['prediction']).all()
    assert (frame['prediction'] <= frame['upper']).all()
    plain = predictor.predict(db, task)
    np.testing.assert_allclose(plain['prediction'], frame['prediction'], rtol=1e-4)
    with pytest.raises(ValueError, match=r"'interval' .* \(got 1.5\)"):
        predictor.predict(db, task, interval=1.5)
    with pytest.raises(ValueError, match='at most 90 %'):
        predictor.predict(db, task, interval=0.99)
    with pytest.raises(ValueError, match='is no regression'):
        predictor.predict(db, toy_task(), interval=0.9)


def test_wider_tasks_name_the_same_classes():
    answer = known_answer('phrase', num_rows=4000)
    task, wider = answer.store.task, answer.wider.store.task
    assert len(task.classes) == 224
    assert len(task.other_classes) == 32
    assert wider.classes == [*task.classes, *task.other_classes]
    assert task.cell_type == CellType.CATEGORY
    assert isinstance(wider, Task)
    rows = answer.store.rows_of_split('test')
    best = answer.best[rows]
    score, _ = answer.wider.scores(best)
    assert 0.85 < score < 0.95
