r"""The foreign-key paths from an entity, to depth 2."""

from dataclasses import dataclass

from torch_geometric_rfm.audit import RawTables


@dataclass(frozen=True)
class Step:
    r"""One foreign key, followed from child to parent (:obj:`up`) or back.

    Args:
        table: The table that the step leads to.
        child: The table that has the key.
        fkey: The key.
        up: Whether the step leads to the parent.
    """

    table: str
    child: str
    fkey: str
    up: bool

    def __str__(self) -> str:
        return f'{self.fkey}>{self.table}' if self.up else f'{self.table}.{self.fkey}'


Path = tuple[Step, ...]


def steps_from(raw: RawTables, table: str) -> list[Step]:
    r"""All single steps from a table: to its parents, and to its children."""
    ups = [
        Step(parent, table, fkey, True)
        for fkey, parent in raw.tables[table].fkey_col_to_pkey_table.items()
    ]
    downs = [
        Step(child, child, fkey, False)
        for child, source in raw.tables.items()
        for fkey, parent in source.fkey_col_to_pkey_table.items()
        if parent == table
    ]
    return [*ups, *downs]


def paths_from(raw: RawTables, entity_table: str) -> list[Path]:
    r"""All paths of one or two steps, but those that go down a key and up again."""
    paths: list[Path] = []
    for first in steps_from(raw, entity_table):
        paths.append((first,))
        for second in steps_from(raw, first.table):
            goes_back = not first.up and second.up and second.fkey == first.fkey
            if not (goes_back and second.child == first.child):
                paths.append((first, second))
    return paths


def name_of(path: Path) -> str:
    r"""What features of a path are called after."""
    return ' '.join(map(str, path))
