import copy

import torch

from torch_geometric_rfm.data.cell_data import CellData

EMBEDDINGS = (
    'column_embedding',
    'text_embedding',
    'fkey_embedding',
    'candidate_embedding',
)


def flip_embeddings(cells: CellData, seed: int) -> CellData:
    r"""Gives the channels of all text embeddings random signs, as if another text
    encoder had made them.

    Likeness between strings stays, what they are called is lost: a model that sees
    other signs every time learns what cells say of each other, not what the words of
    the databases at hand stand for.

    Args:
        cells (CellData): The contexts, which stay as they are.
        seed (int): Seed of the signs.

    Example:
        >>> from torch_geometric_rfm.testing import random_cells
        >>> cells = random_cells()
        >>> other = flip_embeddings(cells, seed=1)
        >>> torch.equal(other.column_embedding.abs(), cells.column_embedding.abs())
        True
    """
    out = copy.copy(cells)
    channels = cells.text_embedding.size(1)
    generator = torch.Generator().manual_seed(seed)
    sign = torch.randint(0, 2, (channels,), generator=generator) * 2.0 - 1.0
    for name in EMBEDDINGS:
        if cells.get(name) is not None:
            out[name] = cells[name] * sign.to(cells[name])
    return out
