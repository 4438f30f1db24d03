from pathlib import Path

from torch_geometric_rfm.train.checkpoint import PRETRAINED


def find_checkpoint(name_or_path: str | Path | None = None) -> Path:
    r"""The folder of a checkpoint: of a run, of the package, or downloaded.

    Args:
        name_or_path (str, optional): A folder, or the id of a model on the Hugging Face
            Hub; the model in the package if not given. (default: :obj:`None`)

    Raises:
        FileNotFoundError: If it is neither.

    Example:
        >>> find_checkpoint().name
        'pretrained'
    """
    if name_or_path is None:
        return PRETRAINED
    folder = Path(name_or_path)
    if folder.exists():
        return folder
    if len(folder.parts) != 2:
        raise FileNotFoundError(
            f"no folder '{name_or_path}', and it is no Hub id 'org/model' either"
        )
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(name_or_path)))
