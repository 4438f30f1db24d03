from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import GELU, Linear, Sequential

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.nn.models.relational_transformer import RelationalTransformer
from torch_geometric_rfm.nn.row_readout import RowReadout


class SourceOutput(NamedTuple):
    r"""What contexts of entities say.

    Args:
        embedding: :obj:`[B, C]` the entities at their times.
        pair_index: :obj:`[2, P]` context, and position in its table, of the
            destinations that contexts hold.
        pair_score: :obj:`[P]` their scores.
    """

    embedding: Tensor
    pair_index: Tensor
    pair_score: Tensor


class RelationalRecommender(torch.nn.Module):
    r"""Scores destinations for entities at times, by the sum of

    - two towers: the product of the entity, which is its hidden label in its own
      context, and of the destination, which is its row in its own context, less the
      mean of all destinations and of one length, as towers else collapse to a point;
    - the score of the destination's row within the context of the entity, where
      it stands there, as in `"Identity-aware Graph Neural Networks"
      <https://arxiv.org/abs/2101.10320>`_;
    - two small networks on what
      :class:`~torch_geometric_rfm.data.PairHistory` counts, of a destination and of
      a pair that met before.

    Args:
        model (RelationalTransformer): Encodes both kinds of contexts.
        num_pair_features (int): Figures of a pair.
        num_popularity_features (int): Figures of a destination.
        hidden_channels (int, optional): Width of the small networks.
            (default: :obj:`32`)

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> model = RelationalTransformer.small(text_channels=8)
        >>> recommender = RelationalRecommender(model, 3, 3)
        >>> out = recommender.embed_sources(random_cells(num_contexts=2), table=1)
        >>> out.embedding.size()
        torch.Size([2, 128])
    """

    def __init__(
        self,
        model: RelationalTransformer,
        num_pair_features: int,
        num_popularity_features: int,
        hidden_channels: int = 32,
    ) -> None:
        super().__init__()
        channels = model.channels
        self.model = model
        self.channels = channels
        self.num_pair_features = num_pair_features
        self.num_popularity_features = num_popularity_features
        self.hidden_channels = hidden_channels
        self.readout = RowReadout(channels)
        self.lin_source = Linear(channels, channels)
        self.lin_destination = Linear(channels, channels)
        self.lin_context = Linear(channels, channels)
        self.lin_context_score = Linear(channels, 1)
        both = num_pair_features + num_popularity_features
        self.pair_mlp = _mlp(both, hidden_channels)
        self.popularity_mlp = _mlp(num_popularity_features, hidden_channels)
        # Contexts start out silent, and add to what the counts say.
        for lin in (self.lin_source, self.lin_context_score):
            torch.nn.init.zeros_(lin.weight)
            torch.nn.init.zeros_(lin.bias)

    def head_state(self) -> dict[str, Tensor]:
        r"""The weights beside those of the model."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith('model.')
        }

    def embed_sources(self, cells: CellData, table: int) -> SourceOutput:
        r"""Embeds entities, and scores the destinations that their contexts hold.

        Args:
            cells (CellData): Contexts of which each starts with the hidden label.
            table (int): Number of the destination table.
        """
        x = self.model.encode(cells)
        ptr = cells.get('ptr')
        first = ptr[:-1] if ptr is not None else cells.row.new_zeros(1)
        source = self.lin_source(x[first]) / self.channels**0.5  # [B, C]
        h = self.readout(x, cells)  # [R, C]
        row = (cells.row_table == table).nonzero().view(-1)
        context = cells.row_context[row]
        inner = (source[context] * self.lin_context(h[row])).sum(dim=-1)
        score = inner + self.lin_context_score(h[row]).squeeze(-1)
        return SourceOutput(source, torch.stack([context, cells.row_index[row]]), score)

    def embed_destinations(self, cells: CellData) -> Tensor:
        r"""Embeds the seed rows of contexts :obj:`[D, C]`.

        Only :meth:`centre_destinations` makes them comparable to entities.
        """
        h = self.readout(self.model.encode(cells), cells)
        return self.lin_destination(h[cells.seed_row])

    def centre_destinations(
        self, embedding: Tensor, log_weight: Tensor | None = None
    ) -> Tensor:
        r"""Takes the mean from embedded destinations :obj:`[D, C]`, and brings them to
        one length.

        Entities start out alike, hence what they have in common would be all that
        destinations learn, until these are alike as well.

        Args:
            embedding (Tensor): All destinations that exist, or a sample of them.
            log_weight (Tensor, optional): The logarithm of how many each of a sample
                :obj:`[D]` stands for. (default: :obj:`None`)
        """
        if log_weight is None:
            mean = embedding.mean(dim=0)
        else:
            mean = log_weight.softmax(dim=0).to(embedding.dtype) @ embedding
        return F.rms_norm(embedding - mean, embedding.shape[-1:])

    def score_popularity(self, popularity: Tensor) -> Tensor:
        r"""Scores of destinations :obj:`[D]`, by their figures :obj:`[D, F]`."""
        popularity = popularity.to(self.lin_source.weight.dtype)
        return self.popularity_mlp(popularity).squeeze(-1)

    def score_pairs(self, value: Tensor, popularity: Tensor) -> Tensor:
        r"""Scores of pairs that met before :obj:`[P]`, by their figures and those of
        their destinations.
        """
        pairs = torch.cat([value, popularity], dim=-1)
        return self.pair_mlp(pairs.to(self.lin_source.weight.dtype)).squeeze(-1)

    def forward(
        self,
        source_cells: CellData,
        destination_cells: CellData,
        destination: Tensor,
        table: int,
        popularity: Tensor,
        pair_index: Tensor,
        pair_value: Tensor,
        log_weight: Tensor | None = None,
    ) -> Tensor:
        r"""Scores :math:`D'` candidates for each of :math:`B` entities.

        Args:
            source_cells (CellData): :math:`B` contexts of entities.
            destination_cells (CellData): :math:`D'` contexts of candidates.
            destination (Tensor): :obj:`[D']` rows of the candidates, distinct.
            table (int): Number of the destination table.
            popularity (Tensor): :obj:`[D, F]` figures of all destinations.
            pair_index (Tensor): :obj:`[2, P]` entity and destination.
            pair_value (Tensor): :obj:`[P, F]` figures of these pairs.
            log_weight (Tensor, optional): See :meth:`centre_destinations`.
                (default: :obj:`None`)

        Returns:
            Tensor: Scores :obj:`[B, D']`.
        """
        out = self.embed_sources(source_cells, table)
        embedded = self.embed_destinations(destination_cells)
        score = out.embedding @ self.centre_destinations(embedded, log_weight).T
        score = score + self.score_history(
            score.size(0), destination, popularity, pair_index, pair_value
        )
        return _add_pairs(
            score, destination, popularity.size(0), out.pair_index, out.pair_score
        )

    def score_history(
        self,
        num_sources: int,
        destination: Tensor,
        popularity: Tensor,
        pair_index: Tensor,
        pair_value: Tensor,
    ) -> Tensor:
        r"""The scores :obj:`[B, D']` by counts alone; see :meth:`forward`."""
        score = self.score_popularity(popularity[destination])
        score = score.expand(num_sources, -1)
        pair_score = self.score_pairs(pair_value, popularity[pair_index[1]])
        size = popularity.size(0)
        return _add_pairs(score, destination, size, pair_index, pair_score)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.model}, '
            f'num_pair_features={self.num_pair_features}, '
            f'num_popularity_features={self.num_popularity_features})'
        )


def _mlp(in_channels: int, hidden_channels: int) -> Sequential:
    return Sequential(
        Linear(in_channels, hidden_channels), GELU(), Linear(hidden_channels, 1)
    )


def _add_pairs(
    score: Tensor, destination: Tensor, size: int, index: Tensor, value: Tensor
) -> Tensor:
    column = destination.new_full((size,), -1)
    column[destination] = torch.arange(destination.numel(), device=destination.device)
    place = column[index[1]]
    inside = place >= 0
    where = (index[0, inside], place[inside])
    return score.index_put(where, value[inside].to(score.dtype), True)
