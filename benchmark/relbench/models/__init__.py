r"""The models of the benchmark, by name."""

from collections.abc import Callable

from benchmark.relbench.models.base import Model
from benchmark.relbench.models.constants import (
    GlobalMajority,
    GlobalMean,
    GlobalMedian,
    GlobalShares,
)
from benchmark.relbench.models.ensemble import Ensemble
from benchmark.relbench.models.entity_labels import (
    EntityLabels,
    EntityMajority,
    SmoothedLabels,
)
from benchmark.relbench.models.lightgbm_tables import (
    LightGBMEntity,
    LightGBMRelational,
)
from benchmark.relbench.models.link_counts import LinkCounts
from benchmark.relbench.models.rdl_gnn import RDLGNN, AttentionRDLGNN
from benchmark.relbench.models.relational_transformer import (
    FineTunedRelationalTransformer,
    JointRelationalTransformer,
    RelationalTransformerModel,
    ZeroShotRelationalTransformer,
)

MODELS: dict[str, Callable[[], Model]] = {
    'global-mean': GlobalMean,
    'global-median': GlobalMedian,
    'global-majority': GlobalMajority,
    'global-shares': GlobalShares,
    'entity-majority-train': lambda: EntityMajority('train'),
    'entity-majority-known': lambda: EntityMajority('known'),
    'entity-mean-train': lambda: EntityLabels('mean', 'train'),
    'entity-mean-known': lambda: EntityLabels('mean', 'known'),
    'entity-median-train': lambda: EntityLabels('median', 'train'),
    'entity-median-known': lambda: EntityLabels('median', 'known'),
    'last-3-train': lambda: EntityLabels('last-3', 'train'),
    'last-3-known': lambda: EntityLabels('last-3', 'known'),
    'smoothed-known': SmoothedLabels,
    'popularity': lambda: LinkCounts('popularity'),
    'recent-popularity': lambda: LinkCounts('recent_popularity'),
    'past-links': lambda: LinkCounts('past_links'),
    'recent-links': lambda: LinkCounts('recent_links'),
    'lightgbm-entity': LightGBMEntity,
    'lightgbm-relational': LightGBMRelational,
    'rdl-gnn': RDLGNN,
    'rdl-gnn-attention': AttentionRDLGNN,
    'relational-transformer': RelationalTransformerModel,
    'relational-transformer-joint': JointRelationalTransformer,
    'relational-transformer-ensemble': lambda: Ensemble(
        {
            'relational-transformer': RelationalTransformerModel,
            'relational-transformer-joint': JointRelationalTransformer,
        }
    ),
    'relational-transformer-zero-shot': ZeroShotRelationalTransformer,
    'relational-transformer-fine-tuned': FineTunedRelationalTransformer,
}


def make_model(name: str, kind: str, task: str) -> Model:
    r"""A model that can do a task.

    Raises:
        ValueError: If there is no such model, or it cannot do tasks of this type.
    """
    if name not in MODELS:
        raise ValueError(f"no model '{name}' (known are: {', '.join(MODELS)})")
    model = MODELS[name]()
    if kind not in model.kinds:
        able = [other for other, make in MODELS.items() if kind in make().kinds]
        raise ValueError(
            f"model '{name}' cannot do task '{task}', which is of type '{kind}' (it "
            f'can do: {", ".join(model.kinds)}; models that can: '
            f'{", ".join(able) or "none so far"})'
        )
    return model
