import numpy as np
import pytest
import torch

from torch_geometric_rfm import RelationalPredictor
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.testing import toy_task_store
from torch_geometric_rfm.train import predict_rows


@pytest.mark.parametrize('kind', ['binary', 'regression'])
def test_an_ensemble_is_the_mean_over_different_contexts(kind):
    torch.manual_seed(0)
    model = RelationalTransformer.small(
        channels=16, num_layers=1, heads=2, ff_channels=16, zero_init=False
    )
    sampling = {'num_cells': 24, 'num_neighbors': 2, 'random_labels': 0.4}
    predictor = RelationalPredictor(model, 'hashing', **sampling)
    store = toy_task_store(kind)
    each = [
        predict_rows(model, store, 'test', seed=i, **predictor.sampling)
        for i in range(4)
    ]
    assert np.abs(each[0] - each[1]).max() > 1e-4
    four = predictor.predict_rows(store, 'test', num_contexts=4)
    assert np.allclose(four, np.mean(each, axis=0))
    assert np.array_equal(four, predictor.predict_rows(store, 'test', num_contexts=4))
    assert np.array_equal(each[0], predictor.predict_rows(store, 'test'))
    with pytest.raises(ValueError, match=r"'num_contexts' must be positive \(got 0\)"):
        predictor.predict_rows(store, 'test', num_contexts=0)
    predictor.sampling['random_labels'] = 0.0
    with pytest.raises(ValueError, match=r"'num_contexts' needs contexts that differ"):
        predictor.predict_rows(store, 'test', num_contexts=2)
