from typing import NamedTuple

from torch_geometric_rfm.datasets.task_tables import TaskTable


class ForeignKeyPath(NamedTuple):
    r"""A way from an entity down to its happenings.

    Args:
        entity: The table of the entities.
        hops: From there on each child table, with its foreign key to the table
            before. The last one is dated.
    """

    entity: str
    hops: tuple[tuple[str, str], ...]

    @property
    def events(self) -> str:
        r"""The table of the happenings."""
        return self.hops[-1][0]

    @property
    def tables(self) -> str:
        r"""Its tables in words, :obj:`"customers-orders-items"`."""
        return '-'.join([self.entity, *(table for table, _ in self.hops)])

    @property
    def keys(self) -> str:
        r"""Its foreign keys in words."""
        return '-'.join(fkey for _, fkey in self.hops)


def foreign_key_paths(
    tables: dict[str, TaskTable], max_depth: int = 2
) -> list[ForeignKeyPath]:
    r"""All ways from entities to dated happenings, of up to :obj:`max_depth` keys.

    A way does not come back to a table that it has left.

    Args:
        tables: The tables of the database.
        max_depth: The most foreign keys on the way. (default: :obj:`2`)
    """
    paths = [ForeignKeyPath(name, ()) for name in tables]
    found = []
    for _ in range(max_depth):
        longer = []
        for path in paths:
            last = path.hops[-1][0] if path.hops else path.entity
            met = {path.entity, *(table for table, _ in path.hops)}
            for name, table in tables.items():
                if name in met:
                    continue
                for fkey, (parent, _) in table.parents.items():
                    if parent == last:
                        longer.append(path._replace(hops=(*path.hops, (name, fkey))))
        found += [path for path in longer if tables[path.events].time is not None]
        paths = longer
    return found
