from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_geometric_rfm.data.task_store import TaskStore
from torch_geometric_rfm.nn.models.relational_recommender import RelationalRecommender
from torch_geometric_rfm.nn.top_k import exact_top_k
from torch_geometric_rfm.train.link_contexts import LinkContexts

MAX_TIMES = 64
r"""Times at which destinations are embedded at most, in one prediction."""


@torch.no_grad()
def predict_links(
    recommender: RelationalRecommender,
    store: TaskStore,
    rows: Any,
    protocol: str = 'rolling',
    k: int | None = None,
    candidates: NDArray[np.int64] | None = None,
    batch_size: int = 64,
    progress: Any = None,
    contexts: LinkContexts | None = None,
    **sampling: Any,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    r"""The best destinations of rows of a recommendation task, over all there are.

    Destinations are embedded once for each time up to which rows see; of more than
    64 times, at 64 of them, each row taking the latest that is not after its own.

    Args:
        recommender (RelationalRecommender): The trained recommender.
        store (TaskStore): The database with the task.
        rows (str or array): A split, or rows of the task table.
        protocol (str): :obj:`"rolling"` or :obj:`"frozen"`.
        k (int, optional): The number of destinations; that of the task if not
            given. (default: :obj:`None`)
        candidates (array, optional): Rows of the destinations to choose among; all
            if not given. (default: :obj:`None`)
        batch_size (int): Contexts of a batch. (default: :obj:`64`)
        progress (callable, optional): Wraps the batches.
        contexts (LinkContexts, optional): Those of the rows, if there already.
        **sampling: Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Returns:
        Rows of destinations and scores :obj:`[len(rows), k]`, best first, -1 and
        minus infinity where fewer exist by then.

    Raises:
        ValueError: If :obj:`k` is larger than the number of destinations, or a
            candidate is unknown or stands twice.
    """
    if contexts is None:
        index = store.rows_of_split(rows) if isinstance(rows, str) else np.asarray(rows)
        contexts = LinkContexts(store, index, protocol, **sampling)
    k = contexts.task.k if k is None else k
    allowed = _allowed(contexts, candidates, k)
    device = next(recommender.parameters()).device
    training = recommender.training
    recommender.eval()
    best = np.full((len(contexts.rows), k), -1, dtype=np.int64)
    score = np.full((len(contexts.rows), k), -np.inf, dtype=np.float32)
    batches = [
        (time, part)
        for time, group in _by_time(contexts.until)
        for part in np.array_split(group, -(-len(group) // batch_size))
    ]
    last = None
    for time, part in batches if progress is None else progress(batches):
        if time != last:
            embedding, popularity, bias = _destinations(
                recommender, contexts, allowed, time, batch_size, device
            )
            last = time
        out = recommender.embed_sources(
            contexts.sources(part).to(device), contexts.table
        )
        pair_index, value = (x.to(device) for x in contexts.pairs(part))
        pair_score = recommender.score_pairs(value, popularity[pair_index[1]])
        found, figure = exact_top_k(
            out.embedding,
            embedding,
            k,
            bias,
            torch.cat([out.pair_index, pair_index], dim=1),
            torch.cat([out.pair_score, pair_score]),
        )
        best[part], score[part] = found.cpu().numpy(), figure.float().cpu().numpy()
    recommender.train(training)
    return best, score


def _allowed(
    contexts: LinkContexts, candidates: NDArray[np.int64] | None, k: int
) -> NDArray[np.bool_]:
    size = contexts.num_destinations
    allowed = np.ones(size, dtype=bool)
    if candidates is not None:
        candidates = np.asarray(candidates, dtype=np.int64)
        if candidates.size and not 0 <= candidates.min() <= candidates.max() < size:
            raise ValueError(
                f'candidates must be rows in [0, {size}) (got {candidates.min()} to '
                f'{candidates.max()})'
            )
        values, count = np.unique(candidates, return_counts=True)
        if (count > 1).any():
            raise ValueError(
                f'candidates must not stand twice (row {values[count > 1][0]} does)'
            )
        allowed[:] = False
        allowed[candidates] = True
    if not 1 <= k <= allowed.sum():
        raise ValueError(
            f'k must lie in [1, {int(allowed.sum())}], the number of destinations (got '
            f'{k})'
        )
    return allowed


def _by_time(until: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    times = np.unique(until)
    if times.size > MAX_TIMES:
        times = times[np.linspace(0, times.size, MAX_TIMES, endpoint=False).astype(int)]
    place = np.searchsorted(times, until, side='right') - 1
    return [
        (int(time), np.flatnonzero(place == i))
        for i, time in enumerate(times)
        if (place == i).any()
    ]


def _destinations(
    recommender: RelationalRecommender,
    contexts: LinkContexts,
    allowed: NDArray[np.bool_],
    time: int,
    batch_size: int,
    device: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    popularity = contexts.popularity(time).to(device)
    existing = contexts.existing(time)
    # All of them, so that a score does not depend on what else may be recommended.
    known = np.flatnonzero(existing)
    embedding = popularity.new_zeros(len(allowed), recommender.channels)
    if known.size:
        parts = [
            recommender.embed_destinations(contexts.destinations(part, time).to(device))
            for part in np.array_split(known, -(-known.size // batch_size))
        ]
        centred = recommender.centre_destinations(torch.cat(parts))
        embedding[torch.from_numpy(known).to(device)] = centred.to(embedding.dtype)
    bias = recommender.score_popularity(popularity)
    missing = torch.from_numpy(~(allowed & existing)).to(device)
    return embedding, popularity, bias.masked_fill(missing, -torch.inf)
