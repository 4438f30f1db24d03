from torch import Tensor

from torch_geometric_rfm.transforms.masking.masking_view import MaskingView

STRATEGIES: dict[str, type['MaskStrategy']] = {}
r"""Strategies by name."""


class MaskStrategy:
    r"""Chooses what a context hides.

    Subclasses override :meth:`cells` or :meth:`links`. A subclass with a
    :obj:`name` can be asked for by it.

    Example:
        >>> class EveryOther(MaskStrategy):
        ...     def cells(self, view):
        ...         return view.eligible & (view.row % 2 == 0)
        >>> from torch_geometric_rfm.testing import random_cells
        >>> from torch_geometric_rfm.transforms import MaskCells
        >>> MaskCells(EveryOther())
        MaskCells(strategy='EveryOther', rate=(0.15, 0.3))
    """

    name: str | None = None
    hides_links = False

    def __init_subclass__(cls) -> None:
        if cls.__dict__.get('name') is not None:
            STRATEGIES[str(cls.name)] = cls

    def cells(self, view: MaskingView) -> Tensor | None:
        r"""The chosen cells :obj:`[N]`, some of those that are eligible."""
        return None

    def links(self, view: MaskingView) -> Tensor | None:
        r"""The chosen links :obj:`[E]`, if :obj:`hides_links`."""
        return None

    def __repr__(self) -> str:
        return self.name or self.__class__.__name__
