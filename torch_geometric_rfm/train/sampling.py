from typing import Any

from torch_geometric_rfm.sampler.context_policy import DEFAULT_OWN_LABELS

SAMPLING: dict[str, Any] = {
    'num_cells': 128,
    'num_neighbors': 8,
    'temporal_strategy': 'last',
    'own_labels': DEFAULT_OWN_LABELS,
    'recent_labels': 0.0,
    'random_labels': 0.0,
    'history': 0.3,
    'strict': False,
}
r"""How predictors sample unless told otherwise, see
:class:`~torch_geometric_rfm.loader.ContextLoader`; they are saved with a model.
"""
