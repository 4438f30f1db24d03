from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.nn import candidate_scores


class StringLoss(NamedTuple):
    r"""Losses of predicted strings, and how well they were found.

    Args:
        loss: :obj:`[M]` the loss of each.
        rank: :obj:`[M]` the place of the truth among the candidates, from 1, the
            mean place where scores are equal.
    """

    loss: Tensor
    rank: Tensor


def category_loss(embedding: Tensor, index: Tensor, cells: CellData) -> StringLoss:
    r"""Cross entropy over the candidates of the column.

    Args:
        embedding (Tensor): Predicted embeddings :obj:`[M, D]`.
        index (Tensor): The category cells :obj:`[M]` that they are of.
        cells (CellData): The contexts, with candidates.
    """
    scores = candidate_scores(
        embedding,
        cells.candidate_embedding,
        cells.column[index],
        cells.candidate_column,
    )
    return _choose(scores, cells.target_candidate[index])


def text_loss(embedding: Tensor, index: Tensor, cells: CellData) -> StringLoss:
    r"""Cross entropy over the different texts of the batch, hidden or visible
    (InfoNCE, `"Representation Learning with Contrastive Predictive Coding"
    <https://arxiv.org/abs/1807.03748>`_).

    Args:
        embedding (Tensor): Predicted embeddings :obj:`[M, D]`.
        index (Tensor): The cells :obj:`[M]` that they are of, whose string is known.
        cells (CellData): The contexts, with :obj:`target_text_index`.
    """
    truth = cells.target_text_index[index]
    visible = (cells.cell_type == CellType.TEXT) & ~cells.mask
    used = torch.cat([truth, cells.text_index[visible]]).unique()
    key = _exact_key(cells.text_embedding[used])
    group, place = key.unique(return_inverse=True)
    # One of the strings that are the same, for each of the different ones:
    first = torch.full_like(group, used.numel())
    number = torch.arange(used.numel(), device=used.device)
    first = first.scatter_reduce(0, place, number, 'amin')
    scores = candidate_scores(embedding, cells.text_embedding[used[first]])
    return _choose(scores, place[torch.searchsorted(used, truth)])


def cosine_loss(embedding: Tensor, target: Tensor) -> Tensor:
    r"""One minus the cosine, smooth where the prediction is zero.

    Args:
        embedding (Tensor): Predictions :obj:`[M, D]`.
        target (Tensor): Truths :obj:`[M, D]`.

    Returns:
        Tensor: Losses :obj:`[M]`, between 0 and 2.

    Example:
        >>> cosine_loss(torch.tensor([[0.0, 9.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([1.])
    """
    norm = (embedding.square().sum(dim=1) + 1e-2).sqrt()
    target = F.normalize(target.to(embedding.dtype), dim=1)
    return 1.0 - (embedding * target).sum(dim=1) / norm


def has_strings(cells: CellData, kind: CellType) -> bool:
    r"""Whether contexts hold what the loss of a type of strings needs."""
    is_category = kind == CellType.CATEGORY
    key = 'candidate_embedding' if is_category else 'target_text_index'
    return cells.get(key) is not None


def _choose(scores: Tensor, truth: Tensor) -> StringLoss:
    score = scores.detach().gather(1, truth.unsqueeze(1))
    above, equal = (scores > score).sum(dim=1), (scores == score).sum(dim=1)
    loss = F.cross_entropy(scores, truth, reduction='none')
    return StringLoss(loss, above + 0.5 * (equal + 1))


def _exact_key(embedding: Tensor) -> Tensor:
    # Of equal rows the same whole number, of others almost surely different ones.
    bits = embedding.float().contiguous().view(torch.int32).long()
    generator = torch.Generator().manual_seed(0)
    factor = torch.randint(
        -(2**62), 2**62, (bits.size(1),), generator=generator, device='cpu'
    )
    return (bits * factor.to(bits.device)).sum(dim=1)
