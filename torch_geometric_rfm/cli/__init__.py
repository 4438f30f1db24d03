r"""The command line ``pyg-rfm``."""

import sys


def main() -> None:
    r"""Runs the command line, if what it needs is installed."""
    try:
        from torch_geometric_rfm.cli.app import app
    except ImportError as error:
        sys.exit(
            f'pyg-rfm needs packages that are missing ({error}): '
            'pip install "torch-geometric-rfm[all]"'
        )
    app()


__all__ = ['main']
