import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from torch_geometric_rfm.data.atomic_file import write_atomically
from torch_geometric_rfm.data.cell_type import CellType
from torch_geometric_rfm.nn import RelationalTransformer

FORMAT = 'torch_geometric_rfm'
FORMAT_VERSION = 1
PRETRAINED = Path(__file__).parents[1] / 'pretrained'
r"""The checkpoint of the package, whose :obj:`README.md` is its model card."""


def check_folder(folder: str | Path) -> Path:
    r"""Checks that a run may be written to a folder, without making it.

    Raises:
        FileExistsError: If the folder exists and is not a run.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"'{folder}' is a file; name a folder for the run")
    if folder.exists() and any(folder.iterdir()) and not _is_run(folder):
        raise FileExistsError(
            f"folder '{folder}' exists and is not a run of this package (it has no "
            f'config.json of one). Choose another folder, or empty it.'
        )
    return folder


def prepare_folder(folder: str | Path) -> Path:
    r"""Makes a run folder, or takes one that is a run already.

    Raises:
        FileExistsError: If the folder exists and is not a run.
    """
    folder = check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json(path: Path, content: Any) -> None:
    r"""Writes JSON whole or not at all."""
    write_atomically(path, lambda part: Path(part).write_text(dumps(content)))


def dumps(content: Any) -> str:
    r"""JSON with an indent, of what :mod:`json` alone cannot write too."""
    return json.dumps(content, indent=2, default=str) + '\n'


def save_checkpoint(
    folder: str | Path,
    model: RelationalTransformer,
    predictor: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    r"""Writes :obj:`model.safetensors` and :obj:`config.json`, each whole or not
    at all.

    Args:
        folder: The folder.
        model: The model.
        predictor: What predictions depend on beside the model: the identity
            of the text encoder and the arguments of the sampler.
        dtype: In what the weights are written; they are read as single precision.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: weight.detach().cpu().to(dtype).contiguous()
        for name, weight in model.state_dict().items()
    }
    path = folder / 'model.safetensors'
    write_atomically(path, lambda part: save_file(weights, part))
    config = {
        'format': FORMAT,
        'format_version': FORMAT_VERSION,
        **model.config,
        'cell_types': [kind.name.lower() for kind in CellType],
        'normalisation': 'z-score',
        'predictor': predictor,
    }
    write_json(folder / 'config.json', config)


def undo_shrink(model: RelationalTransformer, training: dict[str, Any]) -> None:
    r"""Gives a pretrained model back all that it learned, to be trained further, where
    it was saved with a part of it.

    Args:
        model: The model.
        training: What is known of its training; its :obj:`shrink` has the factor of
            each type, see :meth:`~torch_geometric_rfm.nn.CellDecoder.shrink`.
    """
    for name, factor in training.get('shrink', {}).items():
        model.decoder.shrink(1 / factor, name)


def load_checkpoint(
    folder: str | Path,
) -> tuple[RelationalTransformer, dict[str, Any]]:
    r"""Reads a model and what was saved beside it.

    Raises:
        FileNotFoundError: If the folder holds no checkpoint.
        ValueError: If it is damaged, of a later format, or made with other
            cell types or another normalisation.
    """
    folder = Path(folder)
    if not _is_run(folder) or not (folder / 'model.safetensors').exists():
        raise FileNotFoundError(
            f"'{folder}' holds no checkpoint (config.json and model.safetensors)"
        )
    config = json.loads((folder / 'config.json').read_text())
    if config.get('format_version', 0) > FORMAT_VERSION:
        raise ValueError(
            f"checkpoint '{folder}' has format {config['format_version']}, this "
            f'version reads up to {FORMAT_VERSION}. Upgrade torch-geometric-rfm.'
        )
    cell_types = [kind.name.lower() for kind in CellType]
    for key, expected in (('cell_types', cell_types), ('normalisation', 'z-score')):
        if config.get(key) != expected:
            raise ValueError(
                f"checkpoint '{folder}' was made with {key} {config.get(key)}, here "
                f'they are {expected}. Train it again with this version.'
            )
    names = RelationalTransformer(8, 1, 1, 8).config
    # Options that the checkpoint is older than have their defaults, but for one whose
    # default has changed:
    if 'datetime_encoding' not in config and config.get('relative_time'):
        config['datetime_encoding'] = ['global', 'relative']
    model = RelationalTransformer(**{n: config[n] for n in names if n in config})
    try:
        model.load_state_dict(load_file(folder / 'model.safetensors'))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"the weights of checkpoint '{folder}' do not fit its config.json or are "
            f'damaged: {error}'
        ) from error
    return model.eval(), config['predictor']


def _is_run(folder: Path) -> bool:
    try:
        config = json.loads((folder / 'config.json').read_text())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get('format') == FORMAT
