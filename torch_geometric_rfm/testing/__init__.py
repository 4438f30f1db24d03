r"""Fixtures for tests of models and transforms."""

from .cells import random_cells

__all__ = ['random_cells']
