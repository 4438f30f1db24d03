r"""The values of node types, column by column."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data import MultiEmbeddingTensor

from torch_geometric_rfm.data.cell_type import CellType

_TYPES = {
    stype.numerical: CellType.NUMBER,
    stype.categorical: CellType.CATEGORY,
    stype.timestamp: CellType.DATETIME,
    stype.embedding: CellType.EMBEDDING,
}


class Values(NamedTuple):
    r"""The features of a node type, as :math:`C` columns of :math:`R` rows.

    Args:
        columns: Names.
        cell_types: :obj:`[C]`
        present: :obj:`[R, C]` which values are not missing.
    """

    columns: list[str]
    cell_types: list[CellType]
    present: Tensor


def read_values(name: str, store: Any) -> Values | None:
    r"""The columns of a node type, or :obj:`None` where it has no features.

    Raises:
        ValueError: If it has both :obj:`tf` and :obj:`x`, or some that cannot be
            hidden.
    """
    tf, x = store.get('tf'), store.get('x')
    if tf is not None and x is not None:
        raise ValueError(
            f"node type '{name}' has both 'tf' and 'x'; hide one of them, without "
            f'the other in the graph'
        )
    if x is not None:
        if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point():
            got = f'{x.dtype} {list(x.shape)}' if isinstance(x, Tensor) else type(x)
            raise ValueError(
                f"'x' of node type '{name}' must be a matrix of floating-point "
                f'numbers (got {got})'
            )
        names = store.get('feature_names') or [f'x_{i}' for i in range(x.size(1))]
        return Values(names, [CellType.NUMBER] * x.size(1), ~x.isnan())
    if tf is None:
        return None
    columns, types, present = [], [], []
    declared = store.get('cell_types') or {}
    for kind, feat in tf.feat_dict.items():
        names = tf.col_names_dict[kind]
        if kind not in _TYPES:
            raise ValueError(
                f"columns {names} of node type '{name}' are of stype '{kind.value}', "
                f'which cannot be hidden; leave them out of the graph'
            )
        columns += names
        types += [
            CellType.from_name(declared[c]) if c in declared else _TYPES[kind]
            for c in names
        ]
        present.append(_present(feat))
    out = Values(columns, types, torch.cat(present, dim=1))
    for i, column in enumerate(columns):
        if column == '__const__':  # Frame's filler of tables without features.
            out.present[:, i] = False
    return out


def _present(feat: Any) -> Tensor:
    if isinstance(feat, MultiEmbeddingTensor):
        parts = feat.values.tensor_split(feat.offset[1:-1].cpu(), dim=1)
        return torch.stack(
            [(part != 0).any(1) & ~part.isnan().any(1) for part in parts], 1
        )
    if feat.dim() == 3:  # Years, months, days, ..., or -1.
        return (feat >= 0).all(dim=2)
    return ~feat.isnan() if feat.is_floating_point() else feat >= 0


def write_x(x: Tensor, hidden: Tensor, random: Tensor, source: Tensor) -> Tensor:
    r"""Features with zeros where they are hidden.

    Args:
        x: :obj:`[R, C]` features.
        hidden: :obj:`[R, C]` which ones to hide.
        random: :obj:`[R, C]` which ones to replace by those of other rows.
        source: :obj:`[R, C]` these rows.
    """
    return torch.where(random, x.gather(0, source), x).masked_fill(hidden, 0.0)


def write_frame(
    tf: TensorFrame, hidden: Tensor, random: Tensor, source: Tensor
) -> TensorFrame:
    r"""A frame with missing values where they are hidden; see :func:`write_x`."""
    features, first = {}, 0
    for kind, feat in tf.feat_dict.items():
        part = slice(first, first + len(tf.col_names_dict[kind]))
        first = part.stop
        h, r, s = hidden[:, part], random[:, part], source[:, part]
        if isinstance(feat, MultiEmbeddingTensor):
            width = feat.offset.diff().to(h.device)
            h, r, s = (mask.repeat_interleave(width, dim=1) for mask in (h, r, s))
            values = write_x(feat.values, h, r, s)
            features[kind] = MultiEmbeddingTensor(
                feat.num_rows, feat.num_cols, values, feat.offset
            )
            continue
        if feat.dim() == 3:
            h, r, s = (mask.unsqueeze(2).expand_as(feat) for mask in (h, r, s))
        missing = torch.nan if feat.is_floating_point() else -1
        new = torch.where(r, feat.gather(0, s), feat)
        features[kind] = new.masked_fill(h, missing)
    return TensorFrame(features, tf.col_names_dict, tf.y)
