r"""The names of parameters in official checkpoints, and in ours."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric_rfm.nn.models.relational_transformer import (
        RelationalTransformer,
    )

_ATTENTIONS = {'column': 'col', 'feature': 'feat', 'neighbor': 'nbr', 'full': 'full'}
_SHOWN = 8  # names in an error


class Part(NamedTuple):
    r"""Where the values of an official parameter stand.

    Attributes:
        name (str): The name of our parameter.
        rank (int): Which part of it, of equal parts along its first dimension.
        num_parts (int): The number of parts.
        size (tuple): The size of the official parameter.
    """

    name: str
    rank: int
    num_parts: int
    size: tuple[int, ...]


def official_parts(config: Mapping[str, Any]) -> dict[str, Part]:
    r"""The official parameters of a model of the family, each with its place.

    Args:
        config (dict): The :obj:`config` of a
            :class:`~torch_geometric_rfm.nn.RelationalTransformer`.

    Raises:
        ValueError: If there is no official model with such parameters.

    Example:
        >>> from torch_geometric_rfm.nn import RelationalTransformer
        >>> config = RelationalTransformer(8, 1, 2, 16, text_channels=4).config
        >>> official_parts(config)['blocks.0.attns.col.wk.weight']
        Part(name='blocks.0.attentions.column.lin_qkv.weight', rank=1,
             num_parts=3, size=(8, 8))
    """
    others = [name for name in config['attentions'] if name not in _ATTENTIONS]
    of_ours = [name for name in ('copy_attention', 'link_head') if config.get(name)]
    if config['relative_time'] or others or of_ours:
        found = f'attentions {others}' if others else 'relative_time=True'
        if of_ours:
            found = of_ours[0]
        raise ValueError(f'official models have no parameters for {found}')
    channels, text_channels = config['channels'], config['text_channels']
    # RT-J calls the weight of a norm 'scale'.
    norm = 'scale' if config['log_scale'] else 'weight'
    parts: dict[str, Part] = {}

    def add(key: str, name: str, *size: int, rank: int = 0, num_parts: int = 1) -> None:
        parts[key] = Part(name, rank, num_parts, size)

    kinds = ['number', 'boolean', 'datetime', 'text']
    if config['boolean_as_number']:
        kinds.remove('boolean')
    for i, kind in enumerate([*kinds, 'column']):
        width = text_channels if kind in ('text', 'column') else 1
        key = 'col_name' if kind == 'column' else kind
        add(f'enc_dict.{key}.weight', f'encoder.lins.{kind}.weight', channels, width)
        add(f'enc_dict.{key}.bias', f'encoder.lins.{kind}.bias', channels)
        add(f'norm_dict.{key}.{norm}', f'encoder.norms.{kind}.weight', channels)
        if kind != 'column':
            masked, count = 'encoder.mask_embedding', len(kinds)
            add(f'mask_embs.{kind}', masked, channels, rank=i, num_parts=count)
            add(
                f'dec_dict.{kind}.weight',
                f'decoder.lins.{kind}.weight',
                width,
                channels,
            )
            add(f'dec_dict.{kind}.bias', f'decoder.lins.{kind}.bias', width)
    for layer in range(config['num_layers']):
        block, hidden = f'blocks.{layer}', config['ff_channels']
        for ours in config['attentions']:
            theirs = _ATTENTIONS[ours]
            add(
                f'{block}.norms.{theirs}.{norm}',
                f'{block}.norms.{ours}.weight',
                channels,
            )
            key, name = f'{block}.attns.{theirs}', f'{block}.attentions.{ours}'
            square = (channels, channels)
            for i, letter in enumerate('qkv'):
                fused = f'{name}.lin_qkv.weight'
                add(f'{key}.w{letter}.weight', fused, *square, rank=i, num_parts=3)
            add(f'{key}.wo.weight', f'{name}.lin_out.weight', *square)
            if config['gate']:
                add(f'{key}.wg.weight', f'{name}.lin_gate.weight', *square)
            if config['qk_norm']:
                width = channels // config['heads']
                add(f'{key}.q_norm.{norm}', f'{name}.q_norm.weight', width)
                add(f'{key}.k_norm.{norm}', f'{name}.k_norm.weight', width)
            if config['log_scale']:
                add(f'{key}.scale', f'{name}.scale', 1, config['heads'], 1, 1)
        add(f'{block}.norms.ffn.{norm}', f'{block}.ff_norm.weight', channels)
        add(f'{block}.ffn.w1.weight', f'{block}.w1.weight', hidden, channels)
        add(f'{block}.ffn.w2.weight', f'{block}.w2.weight', channels, hidden)
        add(f'{block}.ffn.w3.weight', f'{block}.w3.weight', hidden, channels)
    add(f'norm_out.{norm}', 'norm.weight', channels)
    return parts


def to_official(model: 'RelationalTransformer') -> dict[str, Tensor]:
    r"""The state dict of a model as the official code names and shapes it.

    Args:
        model (RelationalTransformer): The model.

    Example:
        >>> from torch_geometric_rfm.nn import RelationalTransformer
        >>> model = RelationalTransformer(8, 1, 2, 16, text_channels=4)
        >>> to_official(model)['mask_embs.datetime'].size()
        torch.Size([8])
    """
    ours = model.state_dict()
    out = {}
    for key, (name, rank, num_parts, size) in official_parts(model.config).items():
        out[key] = ours[name].detach().chunk(num_parts)[rank].reshape(size).clone()
    return out


def from_official(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any]
) -> dict[str, Tensor]:
    r"""The state dict of our model with the values of an official one.

    Args:
        state_dict (dict): The official state dict, without prefixes.
        config (dict): The :obj:`config` of the model to be filled.

    Raises:
        ValueError: If parameters are missing or unknown, or differ in size.

    Example:
        >>> from torch_geometric_rfm.nn import RelationalTransformer
        >>> model = RelationalTransformer(8, 1, 2, 16, text_channels=4)
        >>> state_dict = from_official(to_official(model), model.config)
        >>> model.load_state_dict(state_dict)
        <All keys matched successfully>
    """
    parts = official_parts(config)
    if config['boolean_as_number']:
        # Released files of RT-J may hold such leftovers, which its code drops too.
        state_dict = {k: v for k, v in state_dict.items() if '.boolean' not in k}
    sizes = {key: part.size for key, part in parts.items()}
    problems = [
        _listed('missing', [key for key in parts if key not in state_dict]),
        _listed('unknown', [key for key in state_dict if key not in parts]),
        _listed(
            'of another size',
            [
                f'{key} {list(value.shape)} in place of {list(sizes[key])}'
                for key, value in state_dict.items()
                if key in sizes and tuple(value.shape) != sizes[key]
            ],
        ),
    ]
    if any(problems):
        raise ValueError(
            'the checkpoint does not fit the model: '
            + '; '.join(filter(None, problems))
        )
    pieces: dict[str, list[tuple[int, Tensor]]] = {}
    for key, (name, rank, num_parts, _) in parts.items():
        value = state_dict[key]
        if num_parts > 1 and value.dim() == 1:  # a row of 'mask_embedding'
            value = value.unsqueeze(0)
        elif value.dim() == 4:  # the scales of the heads
            value = value.flatten()
        pieces.setdefault(name, []).append((rank, value))
    out = {}
    for name, found in pieces.items():
        values = [value for _, value in sorted(found, key=lambda pair: pair[0])]
        out[name] = torch.cat(values)
    return out


def unwrap(checkpoint: Any) -> dict[str, Tensor]:
    r"""The state dict in a checkpoint, without the wrappers of training.

    Args:
        checkpoint (dict): A state dict, or a dictionary with one at
            :obj:`'model'`; its keys may carry the prefixes :obj:`'_orig_mod.'`
            and :obj:`'module.'`.

    Raises:
        ValueError: If there is no state dict in it.

    Example:
        >>> unwrap({'model': {'_orig_mod.module.norm_out.weight': torch.ones(2)}})
        {'norm_out.weight': tensor([1., 1.])}
    """
    if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get('model'), Mapping):
        checkpoint = checkpoint['model']
    if not isinstance(checkpoint, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor)
        for key, value in checkpoint.items()
    ):
        found = list(checkpoint) if isinstance(checkpoint, Mapping) else checkpoint
        raise ValueError(f'the checkpoint holds no state dict (got {str(found)[:200]})')
    out = {}
    for key, value in checkpoint.items():
        while key.startswith(('_orig_mod.', 'module.')):
            key = key.split('.', 1)[1]
        out[key] = value
    return out


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ''
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return f'{what}: {", ".join(names[:_SHOWN])}{more}'
