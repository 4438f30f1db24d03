from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Parameter, RMSNorm
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.utils import softmax

from torch_geometric_rfm.nn.dense_mask import DenseMask
from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask
from torch_geometric_rfm.nn.masks.edge_mask import EdgeMask


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
        edge_index: Tensor | AttentionMask,
        batch: Tensor | None = None,
        subset: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        r"""Attends over the given mask.

        Args:
            x (Tensor): The cells :obj:`[N, C]`.
            edge_index (Tensor or AttentionMask): Edges :obj:`[2, E]` from key
                to query, a boolean mask :obj:`[B, S, S]`, or a mask prepared by
                :func:`~torch_geometric_rfm.nn.attention_masks`.
            batch (Tensor, optional): Context of each cell :obj:`[N]`, needed
                for a boolean mask over contexts of different sizes.
                (default: :obj:`None`)
            subset (Tensor, optional): The cells :obj:`[M]` that attend, none
                twice, all if not given. The output is theirs.
                (default: :obj:`None`)
            return_attention_weights (bool, optional): If set to :obj:`True`,
                additionally returns the tuple
                :obj:`(edge_index, attention_weights)` of edges :obj:`[2, E]`
                and weights :obj:`[E, heads]`. The mask then becomes edges
                first. (default: :obj:`None`)
        """
        mask = self._encode(x, edge_index, batch)
        if return_attention_weights:
            mask = EdgeMask(mask.to_edge_index(), x.size(0), mask.num_queries)
        queries = mask if subset is None else mask.select(subset)
        num_keys = None if self.scale is None else queries.num_keys
        q, k, v = self._project(x, subset, num_keys)
        scale = self.head_channels**-0.5
        alpha = None
        if isinstance(queries, EdgeMask):
            out, alpha = self._attend_edges(q, k, v, queries, scale)
        else:
            out = queries.attend(q, k, v, scale)
        out = out.flatten(1)  # [M, C]
        if self.lin_gate is not None:
            x_query = x if subset is None else x[subset]
            out = out * (2.0 * self.lin_gate(x_query).sigmoid())
        out = self.lin_out(out)
        if not return_attention_weights:
            return out
        edges = queries.to_edge_index()
        if subset is not None:
            edges = torch.stack([edges[0], subset[edges[1]]])
        return out, (edges, alpha)

    def _encode(
        self, x: Tensor, mask: Tensor | AttentionMask, batch: Tensor | None
    ) -> AttentionMask:
        if x.dim() != 2 or x.size(1) != self.channels:
            raise ValueError(
                f"'x' must be of shape [N, {self.channels}] (got {list(x.shape)})"
            )
        weight = self.lin_out.weight
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"'x' must be of the layer's type {weight.dtype} (got {x.dtype})"
            )
        if isinstance(mask, Tensor):
            if mask.device != x.device:
                raise ValueError(
                    "'edge_index' must be on the device of 'x' "
                    f'(got {mask.device} and {x.device})'
                )
            if mask.dtype == torch.bool:
                if batch is not None and batch.numel() != x.size(0):
                    raise ValueError(
                        f"'batch' must hold the context of each of the {x.size(0)} "
                        f'cells (got {list(batch.shape)})'
                    )
                mask = DenseMask.from_batch(mask, batch)
        if not isinstance(mask, AttentionMask):
            mask = EdgeMask(mask, x.size(0))
        if mask.num_cells != x.size(0):
            raise ValueError(
                f"the mask is over {mask.num_cells} cells (got {x.size(0)} in 'x'); "
                "build it from the same batch, and pass 'batch' with a boolean mask "
                'if contexts differ in size'
            )
        return mask

    def _project(
        self, x: Tensor, subset: Tensor | None, num_keys: Tensor | None
    ) -> tuple[Tensor, ...]:
        # Queries [M, H, D], keys and values [N, H, D]. All that tells the family
        # apart is done to queries and keys here, so that every encoding has to
        # compute a plain softmax(q k / sqrt(d)) v.
        if subset is None:
            q, k, v = self.lin_qkv(x).chunk(3, dim=1)
        else:
            size, bias = self.channels, self.lin_qkv.bias
            q_bias = None if bias is None else bias[:size]
            kv_bias = None if bias is None else bias[size:]
            q = F.linear(x[subset], self.lin_qkv.weight[:size], q_bias)
            k, v = F.linear(x, self.lin_qkv.weight[size:], kv_bias).chunk(2, dim=1)
        q, k, v = (src.unflatten(1, (self.heads, -1)) for src in (q, k, v))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.scale is not None and num_keys is not None:
            log = num_keys.clamp(min=1).to(q.device, torch.bfloat16).log().to(q.dtype)
            scale = self.scale / self.head_channels**0.5
            q = q * (log.unsqueeze(1) * scale).unsqueeze(-1)  # [M, H, 1]
        return q, k, v

    def _attend_edges(
        self, q: Tensor, k: Tensor, v: Tensor, mask: EdgeMask, scale: float
    ) -> tuple[Tensor, Tensor]:
        edge_index, size = mask.edge_index, (k.size(0), q.size(0))
        alpha = self.edge_updater(edge_index, query=q, key=k, scale=scale, size=size)
        return self.propagate(edge_index, value=v, alpha=alpha, size=size), alpha

    def edge_update(
        self,
        query_i: Tensor,
        key_j: Tensor,
        scale: float,
        index: Tensor,
        size_i: Optional[int],  # noqa: UP045 (PyG cannot read unions written with |)
    ) -> Tensor:
        r"""Softmax over the keys of each query."""
        logits = (query_i * key_j).sum(dim=-1) * scale  # [E, H]
        return softmax(logits, index, num_nodes=size_i)

    def message(self, value_j: Tensor, alpha: Tensor) -> Tensor:
        r"""Values weighted by the attention."""
        return value_j * alpha.unsqueeze(-1)  # [E, H, D]

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.channels}, heads={self.heads})'
