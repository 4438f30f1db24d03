from enum import IntEnum


class CellType(IntEnum):
    r"""What a cell holds, and hence how it is encoded and decoded.

    Attributes:
        NUMBER: A real number, z-scored per column.
        BOOLEAN: True or false.
        DATETIME: A point in time.
        CATEGORY: A string of a closed vocabulary.
        TEXT: A string of an open vocabulary.
        EMBEDDING: A vector that came with the graph.

    Example:
        >>> CellType.from_name('text').is_string
        True
    """

    NUMBER = 0
    BOOLEAN = 1
    DATETIME = 2
    CATEGORY = 3
    TEXT = 4
    EMBEDDING = 5

    @property
    def is_string(self) -> bool:
        r"""Whether the cell enters the model as an embedding."""
        return self >= CellType.CATEGORY

    @classmethod
    def from_name(cls, name: str) -> 'CellType':
        r"""The cell type called :obj:`name`, in any case.

        Raises:
            ValueError: If there is no such cell type.
        """
        try:
            return cls[name.upper()]
        except KeyError:
            known = ', '.join(kind.name.lower() for kind in cls)
            raise ValueError(
                f"unknown cell type (got '{name}', known are: {known})"
            ) from None
