r"""Figures that others published for test splits, with the protocol that they name.

*Unverified* is a figure whose source does not say what its rows may see.
"""

from typing import NamedTuple


class Published(NamedTuple):
    r"""A figure of others.

    Args:
        database, task: What it is of.
        system: The system.
        metric: The metric, by the name it has in results.
        value: The figure.
        protocol: :obj:`"rolling"`, :obj:`"frozen"` or :obj:`"unverified"`.
        source: Where it was published.
        model: The model of this benchmark that is of the same kind, if any.
    """

    database: str
    task: str
    system: str
    metric: str
    value: float
    protocol: str
    source: str
    model: str | None = None


_TASKS = ('driver-dnf', 'driver-top3', 'driver-position')
_METRICS = ('roc_auc', 'roc_auc', 'nmae')

_BOARD = (
    ('Entity mean', (0.4467, 0.7037, 1.2100), 'unverified', None),
    ('LightGBM', (0.7255, 0.6493, 0.6019), 'unverified', None),
    ('RDL-GNN', (0.7261, 0.6801, 0.5782), 'unverified', 'rdl-gnn'),
    ('RelGNN, self-reported', (0.753, 0.857, 0.541), 'unverified', None),
    ('RelGT, self-reported', (0.759, 0.835, 0.558), 'unverified', None),
    ('RelLLM, self-reported', (0.771, 0.822, 0.565), 'unverified', None),
    (
        'RT v1, from scratch',
        (0.7993, 0.8384, 0.4875),
        'rolling',
        'relational-transformer',
    ),
    (
        'RT v1, zero-shot, self-reported',
        (0.812, 0.893, 0.431),
        'rolling',
        'relational-transformer-zero-shot',
    ),
    (
        'PluRel, zero-shot',
        (0.767, 0.826, 0.543),
        'rolling',
        'relational-transformer-zero-shot',
    ),
    ('RT-J, in context', (0.8308, 0.9100, 0.3875), 'rolling', None),
    (
        'RT-J, fine-tuned',
        (0.8277, 0.9171, 0.3767),
        'rolling',
        'relational-transformer-fine-tuned',
    ),
    ('KumoRelational, in context', (0.8434, 0.9080, 0.4374), 'rolling', None),
    ('SQL features and TabICL', (0.8187, 0.9112, 0.3834), 'rolling', None),
    ("An LLM agent's features", (0.8327, 0.9357, 0.3440), 'rolling', None),
)
_FROZEN = (
    ('TabPFN-Rel', (0.7322, 0.7714, 3.769), None),
    ('RelGT', (0.7117, 0.8108, 4.766), None),
    ('GraphSAGE', (0.7172, 0.7260, 4.011), 'rdl-gnn'),
    ('LightGBM', (0.7303, 0.7389, 4.106), None),
    ('RT-PluRel', (0.7315, 0.7589, 3.818), None),
)

PUBLISHED = [
    Published('rel-f1', task, system, metric, value, protocol, 'RelBench board', model)
    for system, values, protocol, model in _BOARD
    for task, metric, value in zip(_TASKS, _METRICS, values)
] + [
    Published('rel-f1', task, system, metric, value, 'frozen', 'RelArena', model)
    for system, values, model in _FROZEN
    for task, metric, value in zip(_TASKS, ('roc_auc', 'roc_auc', 'mae'), values)
]
PUBLISHED.append(
    Published(
        'rel-f1',
        'driver-circuit-compete',
        'ID-GNN',
        'map',
        0.6232,
        'unverified',
        'RelBench paper',
    )
)
