from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Parameter, RMSNorm
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.utils import degree, softmax

from torch_geometric_rfm.nn.dense_mask import DenseMask


class RelationalAttention(MessagePassing):
    r"""The multi-head attention of the `"Relational Transformer: Toward
    Zero-Shot Foundation Models for Relational Data"
    <https://arxiv.org/abs/2510.06377>`_ paper, over any graph of cells.

    .. math::
        \mathbf{x}^{\prime}_i = \mathbf{W}_o \sum_{j \in \mathcal{N}(i)}
        \textrm{softmax}_j \left( \frac{(\mathbf{W}_q \mathbf{x}_i)^{\top}
        \mathbf{W}_k \mathbf{x}_j}{\sqrt{d}} \right) \mathbf{W}_v \mathbf{x}_j

    The mask is the :obj:`edge_index`: an edge leads from a key to a query that
    may attend to it. All encodings of one mask give the same output and the
    same gradients. The sum of a query without keys is exactly zero.

    .. note::
        With :obj:`log_scale`, the logarithm of the number of keys is rounded to
        bfloat16 in any precision, as in the released RT-J model, of which it
        could otherwise not give the outputs.

    Args:
        channels (int): Size of each cell, in and out.
        heads (int, optional): Number of attention heads.
            (default: :obj:`8`)
        qk_norm (bool, optional): If set to :obj:`True`, queries and keys pass
            through an RMSNorm per head. (default: :obj:`False`)
        gate (bool, optional): If set to :obj:`True`, the heads are multiplied
            by :math:`2 \sigma(\mathbf{W}_g \mathbf{x}_i)` before the output
            projection. (default: :obj:`False`)
        log_scale (bool, optional): If set to :obj:`True`, the logits are
            divided by the width :math:`d` of a head in place of its root, and
            multiplied by the logarithm of the number of keys of the query and
            by a learned scale per head. (default: :obj:`False`)
        rms_eps (float, optional): The epsilon of the norms of queries and keys.
            (default: :obj:`1e-6`)
        bias (bool, optional): If set to :obj:`True`, the projections of
            queries, keys, values and output have a bias, which is then also
            the output of a query without keys. (default: :obj:`False`)

    Shapes:
        - **input:** cells :math:`(N, C)` in the order of their contexts; mask
          :math:`(2, E)`, or :math:`(B, S, S)` as
          :obj:`mask[context, query, key]`; contexts :math:`(N)` *(optional)*
        - **output:** cells :math:`(N, C)`

    Example:
        >>> conv = RelationalAttention(16, heads=2)
        >>> x = torch.randn(3, 16)
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 1, 0]])
        >>> conv(x, edge_index)[2].count_nonzero()
        tensor(0)
    """

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        qk_norm: bool = False,
        gate: bool = False,
        log_scale: bool = False,
        rms_eps: float = 1e-6,
        bias: bool = False,
    ) -> None:
        if channels <= 0 or heads <= 0 or channels % heads != 0:
            raise ValueError(
                "'heads' must be positive and divide 'channels' "
                f'(got heads={heads}, channels={channels})'
            )
        super().__init__(aggr='add', node_dim=0)
        self.channels = channels
        self.heads = heads
        self.head_channels = channels // heads

        self.lin_qkv = Linear(channels, 3 * channels, bias=bias)
        self.lin_out = Linear(channels, channels, bias=bias)
        self.lin_gate = Linear(channels, channels, bias=False) if gate else None
        self.q_norm = RMSNorm(self.head_channels, eps=rms_eps) if qk_norm else None
        self.k_norm = RMSNorm(self.head_channels, eps=rms_eps) if qk_norm else None
        self.scale = Parameter(torch.empty(heads)) if log_scale else None

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for module in self.children():
            if isinstance(module, (Linear, RMSNorm)):
                module.reset_parameters()
        if self.scale is not None:
            torch.nn.init.ones_(self.scale)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | DenseMask,
        batch: Tensor | None = None,
    ) -> Tensor:
        r"""Attends over the given mask.

        Args:
            x (Tensor): The cells :obj:`[N, C]`.
            edge_index (Tensor or DenseMask): Edges :obj:`[2, E]` from key to
                query, a boolean mask :obj:`[B, S, S]`, or a mask prepared by
                :func:`~torch_geometric_rfm.nn.attention_masks`.
            batch (Tensor, optional): Context of each cell :obj:`[N]`, needed
                for a boolean mask over contexts of different sizes.
                (default: :obj:`None`)
        """
        if x.dim() != 2 or x.size(1) != self.channels:
            raise ValueError(
                f"'x' must be of shape [N, {self.channels}] (got {list(x.shape)})"
            )
        mask = edge_index
        if isinstance(mask, Tensor) and mask.dtype == torch.bool:
            if batch is not None and batch.numel() != x.size(0):
                raise ValueError(
                    f"'batch' must hold the context of each of the {x.size(0)} "
                    f'cells (got {list(batch.shape)})'
                )
            mask = DenseMask.from_batch(mask, batch)
        num_keys = self._check_mask(x, mask)
        qkv = self._project(x, num_keys)
        if isinstance(mask, DenseMask):
            out = self._attend_dense(qkv, mask)
        else:
            out = self._attend_edges(qkv, mask)
        return self._combine(out, x)

    def _combine(self, out: Tensor, x: Tensor) -> Tensor:
        if self.lin_gate is not None:
            out = out * (2.0 * self.lin_gate(x).sigmoid())
        return self.lin_out(out)

    def _check_mask(self, x: Tensor, mask: Tensor | DenseMask) -> Tensor | None:
        # The number of keys of each query [N], if the scale needs it.
        if isinstance(mask, DenseMask):
            if mask.num_cells != x.size(0):
                raise ValueError(
                    f'the mask is over {mask.num_cells} cells (got {x.size(0)} in '
                    "'x'); pass 'batch' if contexts differ in size"
                )
            return None if self.scale is None else mask.num_keys
        _check_edge_index(mask, x.size(0))
        if self.scale is None:
            return None
        return degree(mask[1], x.size(0), dtype=torch.long)

    def _project(self, x: Tensor, num_keys: Tensor | None) -> Tensor:
        # All that tells the family apart is done to queries and keys here, so that
        # every encoding has to compute a plain softmax(q k / sqrt(d)) v.
        qkv = self.lin_qkv(x)
        if self.q_norm is None and self.scale is None:
            return qkv  # [N, 3C]
        q, k, v = qkv.chunk(3, dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            q = self.q_norm(q.view(-1, self.heads, self.head_channels)).flatten(1)
            k = self.k_norm(k.view(-1, self.heads, self.head_channels)).flatten(1)
        if self.scale is not None and num_keys is not None:
            log = num_keys.clamp(min=1).to(q.device, torch.bfloat16).log().to(q.dtype)
            scale = self.scale / self.head_channels**0.5
            scale = (log.unsqueeze(1) * scale).unsqueeze(-1)  # [N, H, 1]
            q = (q.view(-1, self.heads, self.head_channels) * scale).flatten(1)
        return torch.cat([q, k, v], dim=1)  # [N, 3C]

    def _attend_dense(self, qkv: Tensor, mask: DenseMask) -> Tensor:
        if qkv.size(0) == 0:
            return qkv[:, : self.channels]

        num_contexts, size = mask.shape
        if mask.index is not None:
            padded = qkv.new_zeros(num_contexts * size, qkv.size(1))
            qkv = padded.index_copy(0, mask.index, qkv)  # [B * S, 3C]
        heads = (num_contexts, size, self.heads, self.head_channels)
        q, k, v = (
            src.view(heads).transpose(1, 2)  # [B, H, S, D]
            for src in qkv.chunk(3, dim=1)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.attn_mask)
        out = out.transpose(1, 2).reshape(-1, self.channels)  # [B * S, C]
        if mask.index is not None:
            out = out.index_select(0, mask.index)
        if mask.empty is not None:
            out = out.masked_fill(mask.empty, 0.0)
        return out  # [N, C]

    def _attend_edges(self, qkv: Tensor, edge_index: Tensor) -> Tensor:
        query, key, value = (
            src.view(-1, self.heads, self.head_channels)  # [N, H, D]
            for src in qkv.chunk(3, dim=1)
        )
        size = (qkv.size(0), qkv.size(0))
        out = self.propagate(edge_index, query=query, key=key, value=value, size=size)
        return out.flatten(1)  # [N, C]

    def message(
        self,
        query_i: Tensor,
        key_j: Tensor,
        value_j: Tensor,
        index: Tensor,
        size_i: Optional[int],  # noqa: UP045 (PyG cannot read unions written with |)
    ) -> Tensor:
        r"""Values weighted by the softmax over the keys of each query."""
        logits = (query_i * key_j).sum(dim=-1) / self.head_channels**0.5  # [E, H]
        alpha = softmax(logits, index, num_nodes=size_i)
        return value_j * alpha.unsqueeze(-1)  # [E, H, D]

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.channels}, heads={self.heads})'


def _check_edge_index(edge_index: Tensor, num_cells: int) -> None:
    if not isinstance(edge_index, Tensor) or edge_index.dtype != torch.long:
        kind = getattr(edge_index, 'dtype', type(edge_index).__name__)
        raise TypeError(
            "'edge_index' must be a LongTensor [2, E], a BoolTensor [B, S, S] "
            f'or a DenseMask (got {kind})'
        )
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(
            f"'edge_index' must be of shape [2, E] (got {list(edge_index.shape)})"
        )
    if edge_index.numel() > 0:
        low, high = (int(bound) for bound in edge_index.aminmax())
        if low < 0 or high >= num_cells:
            raise ValueError(
                f"'edge_index' must lie in [0, {num_cells}), the number of "
                f'cells (got {low} to {high})'
            )
