from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Linear, Parameter, RMSNorm
from torch_geometric.utils import scatter, softmax

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.cell_type import CellType

HEAD_CHANNELS = 16
COPIED = ('number', 'boolean', 'datetime', 'text')


class CopyAttention(torch.nn.Module):
    r"""Copies values that a context shows into predictions.

    A cell copies from the visible ones :math:`\mathcal{C}(i)` of its own column in its
    context, or of one in the same unit (labels from their means that
    :class:`~torch_geometric_rfm.sampler.LabelHistory` makes), strings and categories
    from all visible strings there:

    .. math::
        \mathbf{p}_i = \frac{s_i}{H} \sum_{h=1}^{H} \sum_{j \in \mathcal{C}(i)}
        \frac{\exp a^{(h)}_{ij}}{\exp b^{(h)} + \sum_{k \in \mathcal{C}(i)}
        \exp a^{(h)}_{ik}} \, \mathbf{v}_j, \qquad
        a^{(h)}_{ij} = \frac{1}{\sqrt{16}} \, {\mathbf{q}^{(h)}_i}^{\top}
        \mathbf{k}^{(h)}_j

    with a learned :math:`b^{(h)}` for copying nothing, as the networks of the `"Get To
    The Point" <https://arxiv.org/abs/1704.04368>`_ paper copy words. Queries
    :math:`\mathbf{q}_i` of 16 channels a head are linear in the cell to predict, keys
    :math:`\mathbf{k}_j` in the normalised other one. Values :math:`\mathbf{v}_j` are
    those of the cells, z-scored, or embeddings of strings; :math:`s_i` is 1 for numbers
    and datetimes, learned for booleans, from 1, and for embeddings of :math:`D`
    channels, from :math:`e^{1.5} \sqrt{D}`, as
    :func:`~torch_geometric_rfm.nn.candidate_scores` divides by the root.

    It starts from equal weights, that of nothing among them. Values go past all layers
    as they are, so that a model knows from its first step what earlier labels of an
    entity say, and can name a class that training never met.

    Args:
        channels (int): Size of each embedded cell.
        heads (int): Number of attention heads :math:`H`.
        types (sequence of str, optional): What is copied: any of :obj:`'number'`,
            :obj:`'boolean'`, :obj:`'datetime'` and, for all that is predicted as an
            embedding, :obj:`'text'`; all of them if not given. (default: :obj:`None`)
        rms_eps (float, optional): The epsilon of the norm of keys.
            (default: :obj:`1e-6`)

    Shapes:
        - **input:** cells to predict :math:`(M, C)`, all cells :math:`(N, C)`
        - **output:** values :math:`(M)`, embeddings :math:`(S, D)` of the :math:`S`
          strings among them

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=12, text_channels=8)
        >>> index = cells.mask.nonzero().view(-1)
        >>> copy = CopyAttention(channels=4, heads=2)
        >>> key = torch.randn(12, 4)
        >>> value, embedding = copy(key[index], key, cells, index)
        >>> value.size() == index.size()
        True
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        types: Sequence[str] | None = None,
        rms_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.types = COPIED if types is None else tuple(types)
        if not self.types or not set(self.types) <= set(COPIED):
            raise ValueError(
                f'what is copied must be some of {", ".join(map(repr, COPIED))} (got '
                f'{list(self.types)})'
            )
        self.channels = channels
        self.heads = heads
        self.norm = RMSNorm(channels, eps=rms_eps)
        self.lin_query = Linear(channels, heads * HEAD_CHANNELS)
        self.lin_key = Linear(channels, heads * HEAD_CHANNELS, bias=False)
        self.nothing = Parameter(torch.empty(heads))
        # Logarithms of what copied booleans and strings are multiplied by:
        self.boolean_scale = Parameter(torch.empty(()))
        self.text_scale = Parameter(torch.empty(()))

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.norm.reset_parameters()
        self.lin_key.reset_parameters()
        torch.nn.init.zeros_(self.lin_query.weight)
        torch.nn.init.zeros_(self.lin_query.bias)
        torch.nn.init.zeros_(self.nothing)
        torch.nn.init.zeros_(self.boolean_scale)
        torch.nn.init.constant_(self.text_scale, 1.5)

    def forward(
        self,
        x: Tensor,
        key: Tensor,
        cells: CellData,
        index: Tensor,
        with_text: bool = True,
    ) -> tuple[Tensor, Tensor]:
        r"""Copies values for some cells.

        Args:
            x (Tensor): The embedded cells :obj:`[M, C]` to predict.
            key (Tensor): All cells :obj:`[N, C]`, as what they are found by.
            cells (CellData): The contexts.
            index (Tensor): Which of the cells are predicted :obj:`[M]`.
            with_text (bool, optional): If set to :obj:`False`, strings copy nothing,
                which is faster where only values are asked for.
                (default: :obj:`True`)
        """
        types = cells.cell_type[index]
        string = types >= CellType.CATEGORY
        wanted = [name for name in self.types if with_text or name != 'text']
        query_index, key_index = copy_edges(cells, index, wanted)
        weight = self._weights(x, key, query_index, key_index)  # [E]

        is_string = string[query_index]
        scalar = (~is_string).nonzero().view(-1)
        value = scatter(
            weight[scalar] * cells.value[key_index[scalar]].to(weight.dtype),
            query_index[scalar],
            dim_size=index.numel(),
            reduce='sum',
        )
        scale = self.boolean_scale.exp().to(value.dtype)
        value = torch.where(types == CellType.BOOLEAN, value * scale, value)

        # As a sparse matrix, since each string may be copied by all others:
        text = is_string.nonzero().view(-1)
        rank = (string.long().cumsum(0) - 1)[query_index[text]]
        place = torch.stack([rank, cells.text_index[key_index[text]]])
        size = (int(string.sum()), cells.text_embedding.size(0))
        with torch.autocast(weight.device.type, enabled=False):
            embedding = torch.sparse.mm(
                torch.sparse_coo_tensor(
                    place, weight[text], size, check_invariants=False
                ),
                cells.text_embedding.to(weight.dtype),
            )
        return value, embedding * (self.text_scale.exp() * embedding.size(1) ** 0.5)

    def _weights(
        self, x: Tensor, key: Tensor, query_index: Tensor, key_index: Tensor
    ) -> Tensor:
        query = self.lin_query(x).view(-1, self.heads, HEAD_CHANNELS)
        used, position = key_index.unique(return_inverse=True)
        keys = self.lin_key(self.norm(key[used])).view(-1, self.heads, HEAD_CHANNELS)
        score = (query[query_index] * keys[position]).sum(-1) * HEAD_CHANNELS**-0.5
        # Half precision would round what is copied.
        score = score.to(torch.promote_types(score.dtype, torch.float32))
        # Each cell may also copy nothing:
        every = torch.arange(x.size(0), device=x.device)
        score = torch.cat([score, self.nothing.to(score.dtype).expand(x.size(0), -1)])
        weight = softmax(score, torch.cat([query_index, every]), num_nodes=x.size(0))
        return weight[: query_index.numel()].mean(dim=1)

    def __repr__(self) -> str:
        name, types = self.__class__.__name__, list(self.types)
        return f'{name}({self.channels}, heads={self.heads}, types={types})'


def copy_edges(
    cells: CellData, index: Tensor, types: Sequence[str] = COPIED
) -> tuple[Tensor, Tensor]:
    r"""What each cell may copy: visible cells of its column in its context, or of one
    in the same unit, of strings and categories all visible ones, but never itself.

    Args:
        cells (CellData): The contexts.
        index (Tensor): The cells :obj:`[M]` that copy.
        types (sequence of str): See :class:`CopyAttention`; others copy nothing.

    Returns:
        tuple: Positions in :obj:`index`, and cells that are copied, :obj:`[E]` each.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=12)
        >>> query, key = copy_edges(cells, torch.arange(12))
        >>> bool(cells.mask[key].any())
        False
    """
    # Cells of one group may copy each other. Vectors are of their column alone.
    kind, num_columns = cells.cell_type, cells.column_embedding.size(0)
    string = (kind == CellType.CATEGORY) | (kind == CellType.TEXT)
    shared = cells.get('copy_column')
    column = cells.column if shared is None else shared[cells.column]
    group = torch.where(string, num_columns, column)
    group = group + (num_columns + 1) * cells.batch_or_zeros
    visible = (~cells.mask).nonzero().view(-1)
    sorted_group, order = group[visible].sort(stable=True)
    first = torch.searchsorted(sorted_group, group[index])
    last = torch.searchsorted(sorted_group, group[index], right=True)
    copies = torch.tensor([name in types for name in COPIED], device=index.device)
    copies = copies[kind[index].clamp(max=CellType.CATEGORY)]
    count = torch.where(copies, last - first, 0)
    query = torch.repeat_interleave(count)
    start = first - (count.cumsum(0) - count)
    position = torch.arange(query.numel(), device=query.device) + start[query]
    key = visible[order[position]]
    other = key != index[query]
    return query[other], key[other]
