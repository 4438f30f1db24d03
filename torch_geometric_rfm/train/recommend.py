from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from torch_geometric_rfm.data.atomic_file import write_atomically
from torch_geometric_rfm.data.link_task import LinkTask
from torch_geometric_rfm.data.pair_history import PairHistory
from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.nn import RelationalRecommender, RelationalTransformer

FILE = 'recommender.safetensors'
VERSION = 2


def new_recommender(
    model: RelationalTransformer, store: TaskStore
) -> RelationalRecommender:
    r"""A recommender for a task, around a model.

    Args:
        model (RelationalTransformer): The model, shared.
        store (TaskStore): The recommendation task.
    """
    history = _history(store)
    return RelationalRecommender(
        model, history.num_pair_features, history.num_popularity_features
    )


def check_recommender(
    recommender: RelationalRecommender | None, store: TaskStore
) -> RelationalRecommender:
    r"""The recommender, if there is one and it fits a task.

    Raises:
        ValueError: If there is none, or it was trained on other paths.
    """
    name = store.task.name
    if recommender is None:
        raise ValueError(
            f"task '{name}' is a recommendation, which the model was not trained for; "
            'fit it on the task first'
        )
    history = _history(store)
    found = (history.num_pair_features, history.num_popularity_features)
    known = (recommender.num_pair_features, recommender.num_popularity_features)
    if found != known:
        raise ValueError(
            f'the recommender was trained on {known} figures of pairs and of '
            f"destinations, task '{name}' has {found}; fit it on the task"
        )
    return recommender


def save_recommender(
    folder: str | Path, recommender: RelationalRecommender
) -> dict[str, Any]:
    r"""Writes the weights beside those of the model; returns what rebuilds it."""
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in recommender.head_state().items()
    }
    write_atomically(Path(folder) / FILE, lambda part: save_file(weights, part))
    return {
        'version': VERSION,
        'num_pair_features': recommender.num_pair_features,
        'num_popularity_features': recommender.num_popularity_features,
        'hidden_channels': recommender.hidden_channels,
    }


def load_recommender(
    folder: str | Path, model: RelationalTransformer, settings: dict[str, Any]
) -> RelationalRecommender:
    r"""Reads what :func:`save_recommender` wrote.

    Raises:
        ValueError: If the weights are missing, damaged, do not fit, or are of another
            format.
    """
    settings = dict(settings)
    version = settings.pop('version', 1)
    if version != VERSION:
        raise ValueError(
            f"the recommender of checkpoint '{folder}' has format {version}, this "
            f'version of the package reads {VERSION}: train it again'
        )
    recommender = RelationalRecommender(model, **settings)
    try:
        weights = load_file(Path(folder) / FILE)
        missing = set(recommender.head_state()) ^ set(weights)
        if missing:
            raise RuntimeError(f'other names of weights ({sorted(missing)[0]})')
        recommender.load_state_dict(weights, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"'{FILE}' of checkpoint '{folder}' is missing or damaged: {error}"
        ) from error
    return recommender.eval()


def recommendation_frame(
    task: LinkTask, keys: Any, times: Any, best: Any, score: Any
) -> pd.DataFrame:
    r"""Recommendations as a frame, one line a destination.

    Args:
        task (LinkTask): The task.
        keys: :obj:`[n]` primary keys of the entities.
        times: :obj:`[n]` when they were asked about.
        best: :obj:`[n, k]` rows of destinations, -1 for none.
        score: :obj:`[n, k]` their scores.

    Returns:
        The entity, the time, :obj:`rank` from 1, the destination and :obj:`score`.
    """
    row, rank = (best >= 0).nonzero()
    name = task.destination_col
    if name in (task.entity_col, task.time_col, 'rank', 'score'):
        name = 'destination'
    return pd.DataFrame(
        {
            task.entity_col: pd.Series(keys).to_numpy()[row],
            task.time_col: pd.Series(times).to_numpy()[row],
            'rank': rank + 1,
            name: task.destination_keys[best[row, rank]],
            'score': score[row, rank],
        }
    )


def _history(store: TaskStore) -> PairHistory:
    task = store.task
    assert isinstance(task, LinkTask)
    window = int(task.horizon.total_seconds())
    return PairHistory(store.store, task.entity_table, task.destination_table, window)
