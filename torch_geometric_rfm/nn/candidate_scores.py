import torch
from torch import Tensor


def candidate_scores(
    embedding: Tensor,
    candidates: Tensor,
    group: Tensor | None = None,
    candidate_group: Tensor | None = None,
) -> Tensor:
    r"""Scores predicted embeddings against those of candidates.

    .. math::
        s_{ik} = \frac{1}{\sqrt{D}} \, \mathbf{h}_i^{\top} \frac{\mathbf{e}_k -
        \bar{\mathbf{e}}}{\| \mathbf{e}_k - \bar{\mathbf{e}} \|}

    with the mean :math:`\bar{\mathbf{e}}` of the candidates of the group, by which
    similar phrases become directions that differ. Any number of candidates, also
    such that were never seen in training, can be scored; equal ones score equally.

    Args:
        embedding (Tensor): Predicted embeddings :obj:`[S, D]`.
        candidates (Tensor): Embeddings :obj:`[K, D]` of the candidates.
        group (Tensor, optional): The group :obj:`[S]` of each, one for all if not
            given. (default: :obj:`None`)
        candidate_group (Tensor, optional): That of each candidate :obj:`[K]`.
            (default: :obj:`None`)

    Returns:
        Tensor: Scores :obj:`[S, K]`, minus infinity outside the group.

    Example:
        >>> candidates = torch.eye(2)
        >>> candidate_scores(torch.tensor([[1.0, -1.0]]), candidates)
        tensor([[ 1., -1.]])
    """
    candidates = candidates.to(embedding.dtype)
    if candidate_group is None or group is None:
        centred = candidates - candidates.mean(dim=0)
    else:
        size = int(candidate_group.max()) + 1 if candidate_group.numel() else 0
        total = candidates.new_zeros(size, candidates.size(1))
        total.index_add_(0, candidate_group, candidates)
        count = torch.bincount(candidate_group, minlength=size).clamp(min=1)
        mean = total / count.unsqueeze(1)
        centred = candidates - mean[candidate_group]
    norm = centred.norm(dim=1, keepdim=True).clamp(min=1e-6)
    scale = candidates.size(1) ** -0.5
    scores = scale * (embedding @ (centred / norm).t())  # [S, K]
    if group is None or candidate_group is None:
        return scores
    return scores.masked_fill(group.unsqueeze(1) != candidate_group, -torch.inf)
