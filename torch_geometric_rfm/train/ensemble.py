from typing import Any

import numpy as np

from torch_geometric_rfm.train.predict import predict_rows


def predict_ensemble(num_contexts: int, *args: Any, **kwargs: Any) -> np.ndarray:
    r"""The mean of the predictions from several contexts of each row: probabilities,
    or numbers in their own unit.

    The contexts are drawn by the seeds :obj:`seed`, :obj:`seed + 1`, ..., so that the
    first is the one of a single prediction and all are the same again next time.

    Args:
        num_contexts (int): Contexts of a row.
        *args: Arguments of :func:`~torch_geometric_rfm.train.predict_rows`.
        **kwargs: Likewise.

    Raises:
        ValueError: If there is not at least one context, or there are several and
            nothing is drawn, so that all would be the same.

    Example:
        >>> from torch_geometric_rfm.nn import RelationalTransformer
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store, model = toy_task_store(), RelationalTransformer.small()
        >>> predict_ensemble(3, model, store, 'val', random_labels=0.5).shape
        (120,)
    """
    if num_contexts < 1:
        raise ValueError(f"'num_contexts' must be positive (got {num_contexts})")
    is_drawn = kwargs.get('temporal_strategy', 'last') == 'uniform'
    if num_contexts > 1 and not is_drawn and not kwargs.get('random_labels'):
        raise ValueError(
            f"'num_contexts' needs contexts that differ (got {num_contexts}), but the "
            'sampling draws nothing. Pass random_labels=0.1 or temporal_strategy='
            "'uniform' to the predictor, or leave num_contexts out"
        )
    seed = kwargs.pop('seed', 0)
    total = predict_rows(*args, seed=seed, **kwargs)
    for i in range(1, num_contexts):
        total = total + predict_rows(*args, seed=seed + i, **kwargs)
    mean = total / num_contexts
    calibration = kwargs.get('calibration')
    if calibration is None or kwargs.get('levels') is not None:
        return mean
    return calibration.round(mean)  # The mean of counts is no count.
