import glob
import os
import platform
import re
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: str | Path, write: Callable[[str], object]) -> None:
    r"""Writes a file whole or not at all.

    What stood there before stays until the new file is complete and on disk. A
    killed process leaves at most a file :obj:`.<name>.*.part`, which the next
    call for the same path on the same machine removes.

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
    prefix = f'.{path.name}.{platform.node()}.'
    for stale in path.parent.glob(f'{glob.escape(prefix)}*.part'):
        process = re.fullmatch(r'(\d+)\.\w+\.part', stale.name[len(prefix) :])
        if process and not _is_alive(int(process[1])):
            stale.unlink(missing_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f'{prefix}{os.getpid()}.', suffix='.part'
    )
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, _mode(path))
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _mode(path: Path) -> int:
    # That of the file it replaces, or of any new file.
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
