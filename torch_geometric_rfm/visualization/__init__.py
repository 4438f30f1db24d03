r"""Pictures of contexts, training runs and predictions."""

from torch_geometric_rfm.visualization.attention_masks import plot_attention_masks
from torch_geometric_rfm.visualization.learning_curve import plot_learning_curve
from torch_geometric_rfm.visualization.predictions import plot_predictions
from torch_geometric_rfm.visualization.schema import plot_schema

__all__ = [
    'plot_attention_masks',
    'plot_learning_curve',
    'plot_predictions',
    'plot_schema',
]
