import torch
from torch import Tensor
from torch.nn import Linear

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.nn.link_candidates import LinkCandidates
from torch_geometric_rfm.nn.row_readout import RowReadout


class LinkDecoder(torch.nn.Module):
    r"""Scores candidate parent rows of hidden links:

    .. math::
        s(r, k, p) = \frac{1}{\sqrt{C}} \left\langle \mathbf{W}_c \mathbf{h}_r \odot
        (1 + \mathbf{W}_g \mathbf{e}_k) + \mathbf{W}_k \mathbf{e}_k,
        \mathbf{W}_p \mathbf{h}_p \right\rangle

    for a row :math:`r`, its foreign key :math:`k` and a row :math:`p` of the parent
    table, with embedded rows :math:`\mathbf{h}` and the embedding
    :math:`\mathbf{e}_k` of the phrase "<key> of <table>", by which two keys to one
    table differ.

    Args:
        channels (int): Size of each embedded cell.
        text_channels (int): Size of the embeddings of phrases.

    Shapes:
        - **input:** embedded cells :math:`(N, C)`, their contexts, :math:`P`
          candidates
        - **output:** scores :math:`(P)`

    Example:
        >>> from torch_geometric_rfm.nn import link_candidates
        >>> from torch_geometric_rfm.testing import random_cells
        >>> from torch_geometric_rfm.transforms import MaskCells
        >>> cells = MaskCells('foreign_key')(random_cells(num_cells=64))
        >>> cells.fkey_embedding = torch.randn(2, 8)
        >>> candidates = link_candidates(cells)
        >>> scores = LinkDecoder(16, 8)(torch.randn(64, 16), cells, candidates)
        >>> scores.size() == candidates.row.size()
        True
    """

    def __init__(self, channels: int, text_channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.text_channels = text_channels
        self.readout = RowReadout(channels)
        self.lin_child = Linear(channels, channels)
        self.lin_parent = Linear(channels, channels)
        self.lin_gate = Linear(text_channels, channels)
        self.lin_key = Linear(text_channels, channels)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.readout.reset_parameters()
        for lin in (self.lin_child, self.lin_parent, self.lin_gate, self.lin_key):
            lin.reset_parameters()

    def forward(self, x: Tensor, cells: CellData, candidates: LinkCandidates) -> Tensor:
        r"""Scores the candidates, without the correction.

        Args:
            x (Tensor): The embedded cells :obj:`[N, C]`.
            cells (CellData): Contexts with hidden links.
            candidates (LinkCandidates): The candidates, see
                :func:`~torch_geometric_rfm.nn.link_candidates`.
        """
        phrases = cells.get('fkey_embedding')
        if phrases is None or phrases.size(-1) != self.text_channels:
            got = None if phrases is None else list(phrases.shape)
            raise ValueError(
                f"'fkey_embedding' must be of shape [*, {self.text_channels}] (got "
                f'{got}); a ContextLoader gives it'
            )
        child = cells.fkey_target_index[0]
        h = self.readout(x, cells)  # [R, C]
        phrase = phrases.to(h.dtype)[cells.fkey_target_type]  # [M, T]
        query = self.lin_child(h[child]) * (1.0 + self.lin_gate(phrase))
        query = (query + self.lin_key(phrase)) / self.channels**0.5  # [M, C]
        parent = self.lin_parent(h)  # [R, C]
        return (query[candidates.link] * parent[candidates.row]).sum(dim=-1)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'text_channels={self.text_channels})'
        )
