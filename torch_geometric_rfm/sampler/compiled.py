r"""How the functions of the sampler are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    r"""Compiles a function that allocates nothing, without the GIL.

    Arrays are borrowed from the caller and never counted: counting references
    takes most of the time of small functions that are given many arrays.
    """
    options: dict[str, Any] = {'cache': True, 'nogil': True, '_nrt': False}
    return njit(**options)(function)
