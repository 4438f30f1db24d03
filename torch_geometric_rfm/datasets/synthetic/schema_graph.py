r"""Random schemas: directed acyclic graphs whose nodes are tables.

A graph is a list that holds for each table the tables that its foreign keys lead
to. Tables stand in topological order, parents before children.
"""

from collections.abc import Callable

import numpy as np

Graph = list[list[int]]
MAX_PARENTS = 5


def barabasi_albert(num_tables: int, rng: np.random.Generator) -> Graph:
    r"""Each table references one or two earlier ones, which it chooses in
    proportion to how often they are referenced already: a few hubs.
    """
    graph: Graph = [[]]
    degree = np.ones(num_tables)
    for table in range(1, num_tables):
        share = degree[:table] / degree[:table].sum()
        count = min(table, int(rng.integers(1, 3)))
        parents = rng.choice(table, count, replace=False, p=share).tolist()
        degree[parents] += 1
        graph.append(sorted(parents))
    return graph


def reverse_random_tree(num_tables: int, rng: np.random.Generator) -> Graph:
    r"""A snowflake: one table of facts, which references tables that reference
    others; each table but the first is referenced by one.
    """
    children = [0] * num_tables
    graph: Graph = [[] for _ in range(num_tables)]
    for table in range(1, num_tables):
        free = [t for t in range(table) if children[t] < MAX_PARENTS]
        child = int(rng.choice(free))
        children[child] += 1
        # Numbered backwards, so that the facts come last.
        graph[num_tables - 1 - child].append(num_tables - 1 - table)
    return [sorted(parents) for parents in graph]


def watts_strogatz(num_tables: int, rng: np.random.Generator) -> Graph:
    r"""A ring of which some links lead elsewhere, oriented by the number of its
    tables: neighbourhoods with shortcuts.
    """
    rewired = float(rng.uniform(0.1, 0.5))
    graph: list[set[int]] = [set() for _ in range(num_tables)]
    for table in range(num_tables):
        for step in range(1, int(rng.integers(2, 4))):
            other = (table + step) % num_tables
            if rng.random() < rewired:
                other = int(rng.integers(num_tables))
            first, last = min(table, other), max(table, other)
            if first != last and len(graph[last]) < MAX_PARENTS:
                graph[last].add(first)
    return _connected([sorted(parents) for parents in graph], rng)


def layered(num_tables: int, rng: np.random.Generator) -> Graph:
    r"""Layers of tables that reference up to three tables of the layer before."""
    num_layers = min(num_tables, int(rng.integers(2, 5)))
    inner = rng.choice(np.arange(1, num_tables), num_layers - 1, replace=False)
    bounds = [0, *sorted(inner.tolist()), num_tables]
    graph: Graph = [[] for _ in range(num_tables)]
    for before, start, end in zip(bounds, bounds[1:], bounds[2:]):
        for table in range(start, end):
            count = min(start - before, int(rng.integers(1, 4)))
            parents = rng.choice(np.arange(before, start), count, replace=False)
            graph[table] = sorted(parents.tolist())
    return _connected(graph, rng)


SCHEMA_GRAPHS: dict[str, Callable[[int, np.random.Generator], Graph]] = {
    'barabasi_albert': barabasi_albert,
    'reverse_random_tree': reverse_random_tree,
    'watts_strogatz': watts_strogatz,
    'layered': layered,
}


def _connected(graph: Graph, rng: np.random.Generator) -> Graph:
    r"""The graph, with a link from each further component to the tables before."""
    component = list(range(len(graph)))
    for table, parents in enumerate(graph):
        for parent in parents:
            _merge(component, table, parent)
    for table in range(1, len(graph)):
        if component[table] != component[0]:
            # The first table of its component in order, and so without parents.
            first = component.index(component[table])
            known = [t for t in range(first) if component[t] == component[0]]
            parent = int(rng.choice(known))
            graph[first] = sorted([*graph[first], parent])
            _merge(component, first, parent)
    return graph


def _merge(component: list[int], a: int, b: int) -> None:
    old, new = component[a], component[b]
    component[:] = [new if c == old else c for c in component]
