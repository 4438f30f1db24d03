from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, ModuleDict, RMSNorm

from torch_geometric_rfm.nn.attention_masks import check_mask_names
from torch_geometric_rfm.nn.conv.relational_attention import RelationalAttention
from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask


class RelationalBlock(torch.nn.Module):
    r"""A block of the `"Relational Transformer: Toward Zero-Shot Foundation
    Models for Relational Data" <https://arxiv.org/abs/2510.06377>`_ paper:
    one attention per mask and a gated feed-forward network, each after an
    RMSNorm and with a residual connection.

    .. math::
        \mathbf{X} &\leftarrow \mathbf{X} + \textrm{Attention}_m
        (\textrm{RMSNorm}_m(\mathbf{X})) \quad \textrm{for each mask } m

        \mathbf{X} &\leftarrow \mathbf{X} + (\textrm{SiLU}(\mathbf{H}
        \mathbf{W}_1) \odot \mathbf{H} \mathbf{W}_3) \mathbf{W}_2, \quad
        \mathbf{H} = \textrm{RMSNorm}(\mathbf{X})

    Args:
        channels (int): Size of each cell, in and out.
        heads (int): Number of heads of each attention.
        ff_channels (int): Hidden size of the feed-forward network.
        attentions (sequence of str, optional): The masks to attend over, in
            this order.
            (default: :obj:`('column', 'feature', 'neighbor', 'full')`)
        rms_eps (float, optional): The epsilon of all norms.
            (default: :obj:`1e-6`)
        zero_init (bool, optional): If set to :obj:`True`, the block starts as
            the identity, and its gates at one. (default: :obj:`False`)
        qk_norm, gate, log_scale (bool, optional): See
            :class:`~torch_geometric_rfm.nn.RelationalAttention`.
            (default: :obj:`False`)

    Shapes:
        - **input:** cells :math:`(N, C)`, one mask per attention
        - **output:** cells :math:`(N, C)`

    Example:
        >>> from torch_geometric_rfm.nn import attention_masks
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_cells=5)
        >>> block = RelationalBlock(16, heads=2, ff_channels=32)
        >>> block(torch.randn(5, 16), attention_masks(cells)).size()
        torch.Size([5, 16])
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        ff_channels: int,
        attentions: Sequence[str] = ('column', 'feature', 'neighbor', 'full'),
        rms_eps: float = 1e-6,
        zero_init: bool = False,
        qk_norm: bool = False,
        gate: bool = False,
        log_scale: bool = False,
    ) -> None:
        super().__init__()
        check_mask_names(attentions)
        self.channels = channels
        self.heads = heads
        self.ff_channels = ff_channels
        self.zero_init = zero_init

        self.attentions = ModuleDict(
            {
                name: RelationalAttention(
                    channels, heads, qk_norm, gate, log_scale, rms_eps
                )
                for name in attentions
            }
        )
        self.norms = ModuleDict(
            {name: RMSNorm(channels, eps=rms_eps) for name in attentions}
        )
        self.ff_norm = RMSNorm(channels, eps=rms_eps)
        self.w1 = Linear(channels, ff_channels, bias=False)
        self.w2 = Linear(ff_channels, channels, bias=False)
        self.w3 = Linear(channels, ff_channels, bias=False)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.modules():
            if isinstance(module, (RelationalAttention, Linear, RMSNorm)):
                module.reset_parameters()
        if self.zero_init:
            for name, param in self.attentions.named_parameters():
                if name.endswith(('lin_out.weight', 'lin_gate.weight')):
                    torch.nn.init.zeros_(param)
            torch.nn.init.zeros_(self.w2.weight)

    def forward(
        self,
        x: Tensor,
        masks: Mapping[str, Tensor | AttentionMask],
        batch: Tensor | None = None,
        subset: Tensor | None = None,
    ) -> Tensor:
        r"""Runs the block.

        Args:
            x (Tensor): The cells :obj:`[N, C]`.
            masks (dict): For each attention its mask, in any encoding of
                :class:`~torch_geometric_rfm.nn.RelationalAttention`.
            batch (Tensor, optional): Context of each cell :obj:`[N]`, needed
                for plain boolean masks. (default: :obj:`None`)
            subset (Tensor, optional): The cells :obj:`[M]` to return, all if
                not given. (default: :obj:`None`)
        """
        last = [None, *self.attentions][-1]
        for name, attention in self.attentions.items():
            if name not in masks:
                raise ValueError(f"'masks' lacks '{name}' (got {list(masks)})")
            # The last attention is read by nobody but its own cells.
            wanted = subset if name == last else None
            out = attention(self.norms[name](x), masks[name], batch, wanted)
            x = (x if wanted is None else x[wanted]) + out
        if subset is not None and last is None:
            x = x[subset]
        h = self.ff_norm(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h))

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, heads={self.heads}, '
            f'ff_channels={self.ff_channels}, attentions={list(self.attentions)})'
        )
