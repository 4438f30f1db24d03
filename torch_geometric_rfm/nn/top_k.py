import torch
from torch import Tensor


@torch.no_grad()
def exact_top_k(
    source: Tensor,
    destination: Tensor,
    k: int,
    bias: Tensor | None = None,
    pair_index: Tensor | None = None,
    pair_score: Tensor | None = None,
    chunk_size: int = 8192,
) -> tuple[Tensor, Tensor]:
    r"""The :math:`k` best destinations of each source by

    .. math::
        s_{ij} = \langle \mathbf{u}_i, \mathbf{v}_j \rangle + b_j + p_{ij}

    with :math:`p` given for some pairs, and zero for the others. It goes through
    all destinations in chunks, and never holds more scores than one chunk and the
    best so far. Of equal scores the destination of the lower number comes first,
    whatever the size of the chunks.

    Args:
        source (Tensor): :obj:`[B, C]`.
        destination (Tensor): :obj:`[D, C]`.
        k (int): The number of destinations.
        bias (Tensor, optional): :obj:`[D]`; a destination of minus infinity is
            left out. (default: :obj:`None`)
        pair_index (Tensor, optional): :obj:`[2, P]` source and destination of each
            pair; a pair that stands twice counts twice. (default: :obj:`None`)
        pair_score (Tensor, optional): :obj:`[P]`. (default: :obj:`None`)
        chunk_size (int, optional): Destinations at a time. (default: :obj:`8192`)

    Returns:
        Destinations and scores :obj:`[B, k]`, best first; where fewer are left, the
        rest is -1 and minus infinity.

    Raises:
        ValueError: If :obj:`k` is larger than the number of destinations, or not
            positive.

    Example:
        >>> source = torch.tensor([[1.0, 0.0]])
        >>> destination = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
        >>> exact_top_k(source, destination, k=2)[0]
        tensor([[1, 2]])
    """
    num_sources, num_destinations = source.size(0), destination.size(0)
    if not 1 <= k <= num_destinations:
        raise ValueError(
            f"'k' must lie in [1, {num_destinations}], the number of destinations (got "
            f'{k})'
        )
    if (pair_index is None) != (pair_score is None):
        raise ValueError("'pair_index' and 'pair_score' go together")
    score = source.new_full((num_sources, 0), 0.0)
    index = torch.empty((num_sources, 0), dtype=torch.long, device=source.device)
    for first in range(0, num_destinations, chunk_size):
        last = min(first + chunk_size, num_destinations)
        part = source @ destination[first:last].T  # [B, chunk]
        if bias is not None:
            part = part + bias[first:last]
        if pair_index is not None and pair_score is not None:
            inside = (pair_index[1] >= first) & (pair_index[1] < last)
            where = (pair_index[0, inside], pair_index[1, inside] - first)
            part = part.index_put(where, pair_score[inside].to(part.dtype), True)
        number = torch.arange(first, last, device=source.device).expand_as(part)
        score, index = torch.cat([score, part], 1), torch.cat([index, number], 1)
        # The best so far have lower numbers, and a stable sort keeps them first.
        score, order = score.sort(dim=1, descending=True, stable=True)
        score, index = score[:, :k], index.gather(1, order[:, :k])
    return index.masked_fill(score == -torch.inf, -1), score
