import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: str | Path, write: Callable[[str], object]) -> None:
    r"""Writes a file whole or not at all.

    What stood there before stays until the new file is complete and on disk. A
    killed process leaves at most a file :obj:`.<name>.*`, which the next call
    for the same path removes.

    Args:
        path (str): The file.
        write (callable): Writes the content to the path that it is given.

    Raises:
        OSError: If the file cannot be written, *e.g.*, on a full disk.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / 'text'
        ...     write_atomically(path, lambda part: Path(part).write_text('all'))
        ...     path.read_text()
        'all'
    """
    path = Path(path)
    for stale in path.parent.glob(f'.{path.name}.*.part'):
        # Parts belong to live processes, unless these are gone.
        if not _is_alive(stale):
            stale.unlink(missing_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f'.{path.name}.{os.getpid()}.', suffix='.part'
    )
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, 0o644)
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _is_alive(part: Path) -> bool:
    process = part.name.split('.')[-3]
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
