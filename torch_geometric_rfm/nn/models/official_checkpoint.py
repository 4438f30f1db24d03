import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from torch_geometric_rfm.nn.models.key_map import from_official, unwrap

if TYPE_CHECKING:
    from torch_geometric_rfm.nn.models.relational_transformer import (
        RelationalTransformer,
    )

OFFICIAL_OWNER = 'stanford-star/'
_HUB_ARGUMENTS = (
    'cache_dir',
    'force_download',
    'local_files_only',
    'revision',
    'token',
)


def load_official(
    cls: 'type[RelationalTransformer]',
    name_or_path: str,
    filename: str,
    **kwargs: Any,
) -> 'RelationalTransformer':
    r"""Loads an official checkpoint of RT v1 or RT-J.

    Sizes come from the weights, all else from the preset of the model; see
    :meth:`~torch_geometric_rfm.nn.RelationalTransformer.from_pretrained`.
    """
    hub = {name: kwargs.pop(name) for name in _HUB_ARGUMENTS if name in kwargs}
    path = _find(name_or_path, filename, hub)
    state_dict = unwrap(_read(path))
    try:
        sizes = _sizes(state_dict)
        preset = cls.rt_j if 'norm_out.scale' in state_dict else cls.rt_v1
        with torch.device('meta'):
            model = preset(**(sizes | kwargs))
        ours = from_official(state_dict, model.config)
    except ValueError as error:
        raise ValueError(f"cannot load '{path}': {error}") from error
    ours = {name: value.float() for name, value in ours.items()}
    model.load_state_dict(ours, assign=True)
    return model.requires_grad_().eval()


def _find(name_or_path: str, filename: str, hub: Mapping[str, Any]) -> Path:
    folder = Path(name_or_path)
    if folder.exists():
        if not (folder / filename).is_file():
            raise FileNotFoundError(f"there is no file '{filename}' in '{folder}'")
        return folder / filename
    try:
        return Path(hf_hub_download(name_or_path, filename, **hub))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"'{name_or_path}' is no folder, and its '{filename}' cannot be had from "
            f'the Hugging Face Hub ({type(error).__name__}: {error}). Where the Hub '
            'cannot be reached, download the file elsewhere and pass its folder'
        ) from error


def _read(path: Path) -> Any:
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"'{path}' holds no weights, more than weights, or is damaged: {error}"
        ) from error


def _sizes(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    r"""Sizes of the model that a state dict is of."""
    layers = {key.split('.')[1] for key in state_dict if key.startswith('blocks.')}
    needed = ('enc_dict.col_name.weight', 'blocks.0.ffn.w1.weight')
    missing = [key for key in needed if key not in state_dict]
    if missing:
        raise ValueError(
            'it is a checkpoint neither of RT v1 nor of RT-J, for lack of '
            f'{missing} (got {list(state_dict)[:8]})'
        )
    channels, text_channels = state_dict[needed[0]].shape
    sizes = {
        'channels': channels,
        'text_channels': text_channels,
        'num_layers': len(layers),
        'ff_channels': state_dict[needed[1]].size(0),
    }
    scale = state_dict.get('blocks.0.attns.col.scale')
    return sizes if scale is None else sizes | {'heads': scale.numel()}
