import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def run():
    r"""Runs an example, and returns what it prints."""

    def run(script, *args):
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        result = subprocess.run(
            [sys.executable, ROOT / 'examples' / script, *map(str, args)],
            env={**os.environ, 'PYTHONPATH': path},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
