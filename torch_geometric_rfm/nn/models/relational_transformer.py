from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor
from torch.nn import ModuleList, RMSNorm
from torch.utils.checkpoint import checkpoint

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.nn.attention_masks import attention_masks, check_mask_names
from torch_geometric_rfm.nn.cell_output import CellOutput
from torch_geometric_rfm.nn.check_inputs import check_inputs as check_cells
from torch_geometric_rfm.nn.copy_attention import CopyAttention
from torch_geometric_rfm.nn.decoder import CellDecoder
from torch_geometric_rfm.nn.encoder import CellEncoder
from torch_geometric_rfm.nn.link_candidates import LinkScores, link_candidates
from torch_geometric_rfm.nn.link_decoder import LinkDecoder
from torch_geometric_rfm.nn.masks.attention_mask import AttentionMask
from torch_geometric_rfm.nn.models.official_checkpoint import (
    OFFICIAL_OWNER,
    load_official,
)
from torch_geometric_rfm.nn.relational_block import RelationalBlock
from torch_geometric_rfm.nn.row_embeddings import RowEmbeddings, row_embeddings

Masks = Mapping[str, Tensor | AttentionMask]


class RelationalTransformer(
    torch.nn.Module,
    PyTorchModelHubMixin,
    library_name='torch_geometric_rfm',
    tags=['relational-transformer', 'relational-deep-learning'],
):
    r"""The model of the `"Relational Transformer: Toward Zero-Shot Foundation
    Models for Relational Data" <https://arxiv.org/abs/2510.06377>`_ paper:
    a transformer over the cells of a database whose attentions follow its
    columns, rows and keys.

    Args:
        channels (int): Size of each embedded cell.
        num_layers (int): Number of blocks.
        heads (int): Number of heads of each attention.
        ff_channels (int): Hidden size of the feed-forward networks.
        text_channels (int, optional): Size of the embeddings of strings and
            columns. (default: :obj:`384`)
        attentions (sequence of str, optional): The masks to attend over in
            each block, in this order.
            (default: :obj:`('column', 'feature', 'neighbor', 'full')`)
        rms_eps (float, optional): The epsilon of all norms.
            (default: :obj:`1e-6`)
        relative_time (bool, optional): If set to :obj:`True`, datetime cells
            also enter with their time relative to the seed time.
            (default: :obj:`False`)
        zero_init (bool, optional): If set to :obj:`True`, the residual
            branches and the decoder start at zero. (default: :obj:`False`)
        qk_norm, gate, log_scale (bool, optional): See
            :class:`~torch_geometric_rfm.nn.RelationalAttention`.
            (default: :obj:`False`)
        boolean_as_number (bool, optional): If set to :obj:`True`, booleans
            share the encoder and the decoder of numbers.
            (default: :obj:`False`)
        text_encoder (str, optional): The name of the only text encoder whose
            embeddings the weights understand; any if not given.
            (default: :obj:`None`)
        number_encoding, datetime_encoding (optional): How numbers and datetimes
            enter, see :class:`~torch_geometric_rfm.nn.CellEncoder`.
            (default: :obj:`'linear'`, :obj:`None`)
        number_head (str, optional): What is predicted of a number, see
            :class:`~torch_geometric_rfm.nn.CellDecoder`.
            (default: :obj:`'value'`)
        copy_attention (sequence of str, optional): What predictions may copy from
            their context, see :class:`~torch_geometric_rfm.nn.CopyAttention`.
            (default: :obj:`()`)
        link_head (bool, optional): If set to :obj:`True`, links that
            :obj:`MaskCells('foreign_key')` hid are scored too, by a
            :class:`~torch_geometric_rfm.nn.LinkDecoder`. (default: :obj:`False`)
        checkpoint (bool, optional): If set to :obj:`True`, blocks are computed
            again in the backward pass instead of being kept in memory.
            (default: :obj:`False`)

    Shapes:
        - **input:** contexts of :math:`N` cells
        - **output:** values :math:`(N)`: normalised numbers and datetimes,
          logits of booleans, zero for strings

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells(num_contexts=2, num_cells=8, text_channels=384)
        >>> model = RelationalTransformer.small()
        >>> model(cells).size()
        torch.Size([16])
    """

    def __init__(
        self,
        channels: int,
        num_layers: int,
        heads: int,
        ff_channels: int,
        text_channels: int = 384,
        attentions: Sequence[str] = ('column', 'feature', 'neighbor', 'full'),
        rms_eps: float = 1e-6,
        relative_time: bool = False,
        zero_init: bool = False,
        qk_norm: bool = False,
        gate: bool = False,
        log_scale: bool = False,
        boolean_as_number: bool = False,
        text_encoder: str | None = None,
        checkpoint: bool = False,
        number_encoding: str = 'linear',
        datetime_encoding: Sequence[str] | None = None,
        number_head: str = 'value',
        copy_attention: Sequence[str] = (),
        link_head: bool = False,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"'num_layers' must be positive (got {num_layers})")
        check_mask_names(attentions)
        self.channels = channels
        self.num_layers = num_layers
        self.heads = heads
        self.ff_channels = ff_channels
        self.text_channels = text_channels
        self.attentions = tuple(attentions)
        self.rms_eps = rms_eps
        self.relative_time = relative_time
        self.zero_init = zero_init
        self.qk_norm = qk_norm
        self.gate = gate
        self.log_scale = log_scale
        self.boolean_as_number = boolean_as_number
        self.text_encoder = text_encoder
        self.checkpoint = checkpoint

        self.encoder = CellEncoder(
            channels,
            text_channels,
            rms_eps,
            relative_time,
            boolean_as_number,
            number_encoding,
            datetime_encoding,
        )
        self.blocks = ModuleList(
            RelationalBlock(
                channels,
                heads,
                ff_channels,
                self.attentions,
                rms_eps,
                zero_init,
                qk_norm,
                gate,
                log_scale,
            )
            for _ in range(num_layers)
        )
        self.norm = RMSNorm(channels, eps=rms_eps)
        self.decoder = CellDecoder(
            channels, text_channels, boolean_as_number, number_head
        )
        self.copy_attention = None
        if copy_attention:
            self.copy_attention = CopyAttention(
                channels, heads, copy_attention, rms_eps
            )
        self.link_decoder = LinkDecoder(channels, text_channels) if link_head else None

        self.reset_parameters()

    @classmethod
    def small(cls, **overrides: Any) -> 'RelationalTransformer':
        r"""A model of less than a million parameters, for training on a CPU.

        Args:
            **overrides (optional): Arguments of
                :class:`RelationalTransformer` to change.
        """
        config: dict[str, Any] = {
            'channels': 128,
            'num_layers': 2,
            'heads': 4,
            'ff_channels': 256,
            'relative_time': True,
            'zero_init': True,
            'copy_attention': ('text',),
        }
        return cls(**(config | overrides))

    @classmethod
    def rt_v1(cls, **overrides: Any) -> 'RelationalTransformer':
        r"""The released model of the paper, with 22,336,131 parameters.

        .. note::
            It was trained in bfloat16 with norms whose epsilon was
            :math:`2^{-7}`, which is kept in any precision.

        .. note::
            Its weights understand the embeddings of all-MiniLM-L12-v2 alone.
            To train anew with another text encoder, set
            :obj:`text_encoder=None`.

        Args:
            **overrides (optional): Arguments of
                :class:`RelationalTransformer` to change.
        """
        config: dict[str, Any] = {
            'channels': 256,
            'num_layers': 12,
            'heads': 8,
            'ff_channels': 1024,
            'rms_eps': 2**-7,
            'text_encoder': 'all-MiniLM-L12-v2',
        }
        return cls(**(config | overrides))

    @classmethod
    def rt_j(cls, **overrides: Any) -> 'RelationalTransformer':
        r"""The released RT-J model, with 85,562,530 parameters: no attention
        over full contexts, normalised queries and keys, logits that grow with
        the number of keys, and gates.

        .. note::
            To RT-J booleans are z-scored numbers, hence so are its outputs for
            boolean cells. They rank as probabilities do; to have them in the
            unit of the label, let the :obj:`cell_type` of the task be a number.
            The authors average the loss per context first:
            :obj:`MaskedCellLoss(reduction='context')`.

        Args:
            **overrides (optional): Arguments of
                :class:`RelationalTransformer` to change.
        """
        config: dict[str, Any] = {
            'channels': 512,
            'num_layers': 12,
            'heads': 8,
            'ff_channels': 2048,
            'attentions': ('column', 'feature', 'neighbor'),
            'zero_init': True,
            'qk_norm': True,
            'gate': True,
            'log_scale': True,
            'boolean_as_number': True,
            'text_encoder': 'all-MiniLM-L12-v2',
        }
        return cls(**(config | overrides))

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        filename: str | None = None,
        **kwargs: Any,
    ) -> 'RelationalTransformer':
        r"""Loads a model that was saved by :meth:`save_pretrained`, or an
        official checkpoint of RT v1 or RT-J.

        .. code-block:: python

            RelationalTransformer.from_pretrained(
                'stanford-star/rt-v1', filename='pretrain_rel-f1_driver-dnf.pt'
            )
            RelationalTransformer.from_pretrained(
                'stanford-star/rt-j', filename='classification/model.safetensors'
            )

        Args:
            pretrained_model_name_or_path (str): A folder, or the id of a model
                on the Hugging Face Hub.
            filename (str, optional): The file of an official checkpoint in it.
                (default: :obj:`None`)
            **kwargs (optional): Arguments of
                :class:`RelationalTransformer` to change, and of the Hub, as
                :obj:`revision`, :obj:`cache_dir` and :obj:`local_files_only`.

        Raises:
            FileNotFoundError: If the official checkpoint cannot be had.
            ValueError: If it is neither of the two, damaged, or does not fit.
        """
        if filename is not None:
            return load_official(
                cls, str(pretrained_model_name_or_path), filename, **kwargs
            )
        if str(pretrained_model_name_or_path).startswith(OFFICIAL_OWNER):
            raise ValueError(
                f"'filename' must name one of the official checkpoints in "
                f"'{pretrained_model_name_or_path}' (got None), as "
                "'pretrain_rel-f1_driver-dnf.pt' of 'stanford-star/rt-v1'"
            )
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @property
    def config(self) -> dict[str, Any]:
        r"""The arguments that rebuild this model (without its weights)."""
        return {
            'channels': self.channels,
            'num_layers': self.num_layers,
            'heads': self.heads,
            'ff_channels': self.ff_channels,
            'text_channels': self.text_channels,
            'attentions': self.attentions,
            'rms_eps': self.rms_eps,
            'relative_time': self.relative_time,
            'zero_init': self.zero_init,
            'qk_norm': self.qk_norm,
            'gate': self.gate,
            'log_scale': self.log_scale,
            'boolean_as_number': self.boolean_as_number,
            'text_encoder': self.text_encoder,
            'number_encoding': self.encoder.number_encoding,
            'datetime_encoding': self.encoder.datetime_encoding,
            'number_head': self.decoder.number_head,
            'copy_attention': getattr(self.copy_attention, 'types', ()),
            'link_head': self.link_decoder is not None,
        }

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.encoder.reset_parameters()
        for block in self.blocks:
            if isinstance(block, RelationalBlock):
                block.reset_parameters()
        self.norm.reset_parameters()
        self.decoder.reset_parameters(zero=self.zero_init)
        if self.copy_attention is not None:
            self.copy_attention.reset_parameters()
        if self.link_decoder is not None:
            self.link_decoder.reset_parameters()

    def encode(
        self,
        cells: CellData,
        masks: Masks | None = None,
        subset: Tensor | None = None,
        check_inputs: bool = False,
    ) -> Tensor:
        r"""Embeds each cell in view of its context.

        Args:
            cells (CellData): The contexts.
            masks (dict, optional): For each attention its mask. Built by
                :func:`~torch_geometric_rfm.nn.attention_masks` if not given.
                (default: :obj:`None`)
            subset (Tensor, optional): The cells :obj:`[M]` to return, none
                twice, all if not given. The last attention and all after it
                are computed for them alone. (default: :obj:`None`)
            check_inputs (bool, optional): If set to :obj:`True`, raises if a
                cell holds NaN or infinity, and names its table and column.
                (default: :obj:`False`)

        Returns:
            Tensor: The embedded cells :obj:`[N, C]` or :obj:`[M, C]`.
        """
        return self._encode(cells, masks, subset, check_inputs)[0]

    def _encode(
        self,
        cells: CellData,
        masks: Masks | None,
        subset: Tensor | None,
        check_inputs: bool,
    ) -> tuple[Tensor, Tensor]:
        # The embedded cells [M, C], and all cells before the last block [N, C].
        if check_inputs:
            check_cells(cells)
        if masks is None:
            masks = attention_masks(cells, self.attentions)
        x = before = self.encoder(cells)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            before = x
            args = (x, masks, cells.get('batch'), subset if i == last else None)
            if self.checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, *args, use_reentrant=False)
            else:
                x = block(*args)
        return self.norm(x), before

    def encode_rows(
        self, cells: CellData, masks: Masks | None = None
    ) -> dict[str, RowEmbeddings]:
        r"""Embeds each row in view of its context, as the mean of its embedded
        cells.

        :func:`~torch_geometric_rfm.nn.to_x_dict` lays the rows out as features of a
        :class:`~torch_geometric.data.HeteroData`. A seed's row in the table of its
        task holds what is known of its label: nothing but the question.

        Args:
            cells (CellData): The contexts.
            masks (dict, optional): See :meth:`encode`. (default: :obj:`None`)

        Returns:
            dict: For each table of the contexts the positions of its rows, their
            contexts, and their embeddings, as
            :class:`~torch_geometric_rfm.nn.RowEmbeddings`.

        Example:
            >>> from torch_geometric_rfm.testing import toy_task_store
            >>> from torch_geometric_rfm.loader import ContextLoader
            >>> cells = next(iter(ContextLoader(toy_task_store(), batch_size=8)))
            >>> row, context, x = RelationalTransformer.small().encode_rows(cells)[
            ...     'customers'
            ... ]
            >>> x.size(1)
            128
        """
        return row_embeddings(self.encode(cells, masks), cells)

    def forward(
        self,
        cells: CellData,
        masks: Masks | None = None,
        hidden_only: bool = False,
        check_inputs: bool = False,
        all_heads: bool = False,
    ) -> Tensor | CellOutput:
        r"""Predicts the value of each cell.

        Args:
            cells (CellData): The contexts.
            masks (dict, optional): For each attention its mask. Built by
                :func:`~torch_geometric_rfm.nn.attention_masks` if not given.
                (default: :obj:`None`)
            hidden_only (bool, optional): If set to :obj:`True`, only cells of
                :obj:`cells.predict_mask` are predicted and the others are
                zero, which is all that a loss needs, and faster.
                (default: :obj:`False`)
            check_inputs (bool, optional): See :meth:`encode`.
                (default: :obj:`False`)
            all_heads (bool, optional): If set to :obj:`True`, returns what all
                heads predict for the cells of :obj:`cells.predict_mask`, which
                strings and intervals need, and for hidden links, with
                :obj:`link_head`. (default: :obj:`False`)

        Returns:
            Tensor or CellOutput: Values :obj:`[N]`, or the outputs of all heads.
        """
        index = None
        if hidden_only or all_heads:
            index = cells.predict_mask.nonzero().view(-1)
        links = None
        if all_heads and self.link_decoder is not None and cells.num_hidden_links:
            h, before = self._encode(cells, masks, None, check_inputs)
            candidates = link_candidates(cells)
            links = LinkScores(self.link_decoder(h, cells, candidates), candidates)
            h = h[index]
        else:
            h, before = self._encode(cells, masks, index, check_inputs)
        copied = None
        if self.copy_attention is not None:
            every = torch.arange(cells.mask.numel(), device=h.device)
            wanted = every if index is None else index
            copied = self.copy_attention(h, before, cells, wanted, all_heads)
        if all_heads and index is not None:
            return self.decoder.decode_all(h, cells, index, copied, links)
        out = self.decoder(h, cells, index, None if copied is None else copied[0])
        if index is None:
            return out
        return out.new_zeros(cells.mask.numel()).index_copy(0, index, out)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_layers={self.num_layers}, heads={self.heads}, '
            f'ff_channels={self.ff_channels})'
        )
