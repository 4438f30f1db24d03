from copy import copy

import torch
from torch import Tensor
from torch.nn import Linear, ModuleList, RMSNorm

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.select_cells import select_cells
from torch_geometric_rfm.nn.attention_masks import attention_masks
from torch_geometric_rfm.nn.cell_output import CellOutput
from torch_geometric_rfm.nn.models.relational_transformer import RelationalTransformer
from torch_geometric_rfm.nn.relational_block import RelationalBlock
from torch_geometric_rfm.nn.visible_cells import visible_cells


class RelationalMAE(torch.nn.Module):
    r"""Reconstructs hidden cells from visible ones as in `"Masked Autoencoders Are
    Scalable Vision Learners" <https://arxiv.org/abs/2111.06377>`_: a deep encoder
    embeds the visible cells alone, and a shallow decoder fills in the others, each
    of which enters as the embedding of its column and a learned vector of its type.

    With 50 to 75 % of the cells hidden by
    :class:`~torch_geometric_rfm.transforms.MaskCells`, the encoder computes as much
    less. It is trained in place and can be fine-tuned afterwards, by itself or with
    the decoder: :meth:`forward` is called as that of
    :class:`~torch_geometric_rfm.nn.RelationalTransformer`.

    .. note::
        Cells that show a value but are to be predicted, as :obj:`corruption` of
        :class:`~torch_geometric_rfm.transforms.MaskCells` leaves them, count as
        hidden.

    Args:
        encoder (RelationalTransformer): The encoder; its encoder of values and
            columns and its decoder of values serve both parts.
        num_layers (int, optional): Number of blocks of the decoder.
            (default: :obj:`1`)
        channels (int, optional): Size of each cell in the decoder, half of that in
            the encoder if not given. (default: :obj:`None`)
        heads (int, optional): Number of heads of each attention of the decoder, as
            many as in the encoder if not given. (default: :obj:`None`)

    Shapes:
        - **input:** contexts of :math:`N` cells
        - **output:** values :math:`(N)`, see
          :class:`~torch_geometric_rfm.nn.RelationalTransformer`

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from torch_geometric_rfm.loss import MaskedCellLoss
        >>> from torch_geometric_rfm.testing import random_cells
        >>> from torch_geometric_rfm.transforms import MaskCells
        >>> cells = random_cells(num_cells=64, text_channels=384)
        >>> cells = MaskCells('uniform', rate=0.6)(cells)
        >>> model = RelationalMAE(RelationalTransformer.small())
        >>> loss = MaskedCellLoss()(model(cells, all_heads=True), cells)
        >>> model.encode(cells).size(0) == int((~cells.mask).sum())
        True
    """

    def __init__(
        self,
        encoder: RelationalTransformer,
        num_layers: int = 1,
        channels: int | None = None,
        heads: int | None = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"'num_layers' must be positive (got {num_layers})")
        if encoder.link_decoder is not None:
            raise ValueError(
                "'encoder' has a link_head, which goes unused: make it with "
                'link_head=False'
            )
        heads = encoder.heads if heads is None else heads
        if channels is None:
            channels = max(encoder.channels // 2 // heads, 1) * heads
        self.channels = channels
        self.num_layers = num_layers
        self.heads = heads

        self.encoder = encoder
        self.lin_in = Linear(encoder.channels, channels)
        self.blocks = ModuleList(
            RelationalBlock(
                channels,
                heads,
                2 * channels,
                encoder.attentions,
                encoder.rms_eps,
                encoder.zero_init,
                encoder.qk_norm,
                encoder.gate,
                encoder.log_scale,
            )
            for _ in range(num_layers)
        )
        self.norm = RMSNorm(channels, eps=encoder.rms_eps)
        self.lin_out = Linear(channels, encoder.channels)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module, the encoder's too."""
        self.encoder.reset_parameters()
        for block in self.blocks:
            if isinstance(block, RelationalBlock):
                block.reset_parameters()
        self.lin_in.reset_parameters()
        self.norm.reset_parameters()
        self.lin_out.reset_parameters()

    def encode(self, cells: CellData, check_inputs: bool = False) -> Tensor:
        r"""Embeds the visible cells in view of each other.

        Args:
            cells (CellData): The contexts.
            check_inputs (bool, optional): See :meth:`RelationalTransformer.encode
                <torch_geometric_rfm.nn.RelationalTransformer.encode>`.
                (default: :obj:`False`)

        Returns:
            Tensor: The :math:`V` visible cells :obj:`[V, C]`, in their order.
        """
        return self.encoder.encode(visible_cells(cells), check_inputs=check_inputs)

    def forward(
        self,
        cells: CellData,
        hidden_only: bool = False,
        check_inputs: bool = False,
        all_heads: bool = False,
    ) -> Tensor | CellOutput:
        r"""Predicts the value of each cell.

        Args:
            cells (CellData): The contexts.
            hidden_only (bool, optional): If set to :obj:`True`, only cells of
                :obj:`cells.predict_mask` are predicted and the others are
                zero, which is all that a loss needs, and faster.
                (default: :obj:`False`)
            check_inputs (bool, optional): See :meth:`encode`.
                (default: :obj:`False`)
            all_heads (bool, optional): If set to :obj:`True`, returns what all
                heads predict for the cells of :obj:`cells.predict_mask`, which
                strings and intervals need. (default: :obj:`False`)

        Returns:
            Tensor or CellOutput: Values :obj:`[N]`, or the outputs of all heads.
        """
        chosen = cells.predict_mask
        hidden = chosen.nonzero().view(-1)
        h = self.encode(cells, check_inputs)
        # Hidden cells show nothing, whatever stands there.
        asked = select_cells(cells, hidden)
        asked.mask = torch.ones_like(asked.mask)
        asked.text_embedding = cells.text_embedding[:0]
        token = self.lin_in(self.encoder.encoder(asked))
        h = self.lin_in(h)
        x = h.new_empty(chosen.numel(), self.channels)
        x = x.index_copy(0, (~chosen).nonzero().view(-1), h)
        x = x.index_copy(0, hidden, token.to(h.dtype))  # [N, C]

        index = hidden if hidden_only or all_heads else None
        masks = attention_masks(cells, self.encoder.attentions)
        last = self.num_layers - 1
        before = x
        for i, block in enumerate(self.blocks):
            before = x
            x = block(x, masks, cells.get('batch'), index if i == last else None)
        x = self.lin_out(self.norm(x))
        copied = None
        if self.encoder.copy_attention is not None:
            shown = copy(cells)
            shown.mask = chosen
            every = torch.arange(chosen.numel(), device=x.device)
            key = self.lin_out(self.norm(before))
            wanted = every if index is None else index
            copied = self.encoder.copy_attention(x, key, shown, wanted, all_heads)
        if all_heads:
            return self.encoder.decoder.decode_all(x, cells, hidden, copied)
        value = None if copied is None else copied[0]
        out = self.encoder.decoder(x, cells, index, value)
        if index is None:
            return out
        return out.new_zeros(chosen.numel()).index_copy(0, index, out)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.encoder}, channels={self.channels}, '
            f'num_layers={self.num_layers}, heads={self.heads})'
        )
