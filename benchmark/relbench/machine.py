r"""What a run ran on: versions, commit, machine, memory."""

import importlib.metadata
import os
import platform
import resource
import subprocess
from pathlib import Path

PACKAGES = (
    'torch-geometric-rfm',
    'duckdb',
    'lightgbm',
    'lightning-fabric',
    'numba',
    'numpy',
    'pandas',
    'pytorch-frame',
    'relbench',
    'scikit-learn',
    'torch',
    'torch-geometric',
    'torchmetrics',
)


def versions() -> dict[str, str]:
    r"""Versions of Python and of the packages that figures depend on."""
    from torch_geometric_rfm import __version__

    out = {'python': platform.python_version(), 'torch-geometric-rfm': __version__}
    installed = {
        package.metadata['Name'].replace('_', '-').lower(): package.version
        for package in importlib.metadata.distributions()
    }
    for name in PACKAGES:
        if name in installed:
            out.setdefault(name, installed[name])
    return out


def commit() -> str:
    r"""The commit of this repository, marked where files differ from it."""
    git = ['git', '-C', str(Path(__file__).parent)]
    try:
        described = subprocess.run(
            [*git, 'rev-parse', '--short=12', 'HEAD'],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        status = subprocess.run(
            [*git, 'status', '--porcelain', '--untracked-files=no', '--', ':!*.jsonl'],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return described + ('+changes' if status else '')


def machine() -> dict[str, str | int]:
    r"""The processor, how many of its cores may be used, and the system."""
    name = platform.processor() or platform.machine()
    path = Path('/proc/cpuinfo')
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith('model name'):
                name = line.split(':', 1)[1].strip()
                break
    cores = os.cpu_count() or 1
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    return {'processor': name, 'cores': cores, 'system': platform.system()}


def reset_peak_memory() -> None:
    r"""Begins to measure anew, where the system can."""
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:
        return  # The peak is then that of the whole process.


def peak_megabytes() -> int:
    r"""The most memory that the process held since it was last reset."""
    status = Path('/proc/self/status')
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith('VmHWM'):
                return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
