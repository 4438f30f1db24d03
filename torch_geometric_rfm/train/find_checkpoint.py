from pathlib import Path

from torch_geometric_rfm.train.checkpoint import PRETRAINED


def find_checkpoint(name_or_path: str | Path | None = None) -> Path:
    r"""The folder of a checkpoint: of a run, of the package, or downloaded.

    Args:
        name_or_path (str, optional): A folder, or the id of a model on the Hugging Face
            Hub; the model in the package if not given. (default: :obj:`None`)

    Raises:
        FileNotFoundError: If it is neither, or the Hub cannot be reached.

    Example:
        >>> find_checkpoint().name
        'pretrained'
    """
    if name_or_path is None:
        return PRETRAINED
    folder = Path(name_or_path)
    if folder.exists():
        return folder
    missing = f"no folder '{name_or_path}', and "
    if len(folder.parts) != 2 or folder.is_absolute() or '..' in folder.parts:
        raise FileNotFoundError(missing + "it is no Hub id 'org/model' either")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name_or_path)))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f'{missing}the Hub gives no such model: {error}'
        ) from error
