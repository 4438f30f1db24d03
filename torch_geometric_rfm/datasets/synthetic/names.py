r"""How a database writes the words of its names, and which are taken."""

from collections.abc import Sequence

import numpy as np

from torch_geometric_rfm.datasets.synthetic.words import THEMES

_STYLES = ('snake', 'camel', 'words')


class Names:
    r"""Names of a database, in one theme and one way of writing.

    Args:
        rng: The source of randomness.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.style = str(rng.choice(_STYLES, p=[0.6, 0.25, 0.15]))
        order = [str(theme) for theme in rng.permutation(list(THEMES))]
        self.theme = order[0]
        self._free: list[list[str]] = []
        for kind in (0, 1):
            # Nouns of other themes follow where those of the own do not suffice.
            nouns = [n for t in order for n in rng.permutation(THEMES[t][kind])]
            self._free.append([str(noun) for noun in dict.fromkeys(nouns)])
        self._taken: set[str] = set()

    def table(self, activity: bool) -> str:
        r"""A new name of a table, of happenings or of things."""
        free = self._free[int(activity)]
        name = next(noun for noun in free if noun not in self._taken)
        self._taken.add(name)
        return name

    def write(self, *words: str) -> str:
        r"""A name of words, in the way of writing of this database."""
        parts = ' '.join(words).split()
        if self.style == 'words':
            return ' '.join(parts)
        if self.style == 'snake':
            return '_'.join(parts)
        return parts[0] + ''.join(part.capitalize() for part in parts[1:])

    def unique(self, taken: Sequence[str], *words: str) -> str:
        r"""A name of words that is not taken yet, numbered if need be."""
        name, number = self.write(*words), 1
        while name in taken:
            number += 1
            name = self.write(*words, str(number))
        return name
