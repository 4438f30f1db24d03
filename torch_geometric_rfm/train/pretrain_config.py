import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch_geometric_rfm.train.sampling import SAMPLING


@dataclass
class PretrainConfig:
    r"""How to pretrain.

    Args:
        minutes (float, optional): Wall-clock minutes, evaluations included.
        num_steps (int, optional): Optimizer steps.
        model (dict): Arguments of :meth:`RelationalTransformer.small` to change.
        num_cells (list): Sizes of contexts; each batch draws one.
        batch_size (int): Contexts of a step, over all processes.
        group_size (int): Contexts of a batch that are of the same task.
        accumulate (int): Slices in which a batch is computed, to save memory.
        temperature (float): See :func:`~torch_geometric_rfm.loader.mixture_weights`.
        weights (dict): Factors of the probabilities of databases and tasks, see
            :class:`~torch_geometric_rfm.loader.MixtureLoader`.
        autocomplete_weight (float): A further factor of tasks that ask for a column
            of the row itself, whose entities have no earlier labels to show.
        flip_rate (float): The share of groups whose text embeddings are changed by
            :func:`~torch_geometric_rfm.data.flip_embeddings`, so that the model learns
            to read databases whose words it has never met.
        negate_rate (float): The share of groups whose labels are changed by
            :func:`~torch_geometric_rfm.data.negate_labels`, so that the model learns
            from the context what a label means.
        masking (dict): Strategies and weights of
            :class:`~torch_geometric_rfm.transforms.MaskCells`. The label of the
            seed is hidden under each of them. With :obj:`'foreign_key'` a new model
            has a head for links.
        mask_rate (tuple): Range of the share of further cells, or links, that are
            hidden.
        mask_cell_types (list): Types of further cells that are hidden.
        corruption (tuple): The shares of these that are hidden, that show a random
            value of their column, and that show their own.
        drop_rate (float): Of each context of a task a share of the cells is left out,
            drawn up to this one, see
            :class:`~torch_geometric_rfm.transforms.DropCells`; 0 for none.
        unlabelled (list): Databases that are trained on without their labels: their
            own cells are hidden and none of their tasks is used.
        generated_tasks (int): Tasks that are generated for each database, at most,
            beside its own; of synthetic ones in their place. Prepared folders have
            theirs already.
        synthetic_pool (int): Synthetic databases that are mixed in at a time, beside
            those that are named.
        synthetic_every (int): Batches after which others take their place.
        sampling (dict): Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.
        lr, weight_decay, warmup, clip, huber_delta, ema: See
            :class:`~torch_geometric_rfm.train.TrainConfig`.
        episode_steps (int): Steps of an episode of meta-learning (Reptile, `"On
            First-Order Meta-Learning Algorithms" <https://arxiv.org/abs/1803.02999>`_),
            for weights that few steps of fine-tuning change far: all its batches ask
            one task, with the same signs, it starts from the averaged weights with a
            new optimizer, and at its end these move towards what it came to. The
            learning rate is :obj:`lr` after a fifth of it, without :obj:`warmup`. An
            episode that the budget cuts short does not count. 0 for none.
        episode_rate (float): The share of the way that the averaged weights move at
            first; it falls to zero over the budget. :obj:`ema` has no part in it.
        num_evals (int): Evaluations over the budget, none if 0.
        max_eval_share (float): With a budget of minutes alone, evaluations are put
            off while they took more than this share of the time.
        max_val_rows (int): Val rows of a task that are scored.
        save_every (int): Steps between checkpoints.
        save_minutes (float): Minutes after which one is written in any case.
        max_rollbacks (int): Bad batches that are skipped before it gives up.
        explosion (float): A loss is bad above this multiple of its running mean.
        num_workers (int): Processes that sample.
        precision, accelerator (str): Of Lightning Fabric.
        compile (bool): Whether to compile the model.
        seed (int): Determines weights, batches and draws.
    """

    minutes: float | None = None
    num_steps: int | None = None
    model: dict[str, Any] = field(default_factory=dict)
    num_cells: list[int] = field(default_factory=lambda: [128])
    batch_size: int = 32
    group_size: int = 4
    accumulate: int = 1
    temperature: float = 2.0
    weights: dict[str, float] = field(default_factory=dict)
    autocomplete_weight: float = 1.0
    flip_rate: float = 0.0
    negate_rate: float = 0.0
    masking: dict[str, float] = field(
        default_factory=lambda: {'target': 0.5, 'uniform': 0.5}
    )
    mask_rate: tuple[float, float] = (0.05, 0.25)
    mask_cell_types: list[str] = field(
        default_factory=lambda: ['number', 'boolean', 'datetime']
    )
    corruption: tuple[float, float, float] = (1.0, 0.0, 0.0)
    drop_rate: float = 0.0
    unlabelled: list[str] = field(default_factory=list)
    generated_tasks: int = 0
    synthetic_pool: int = 0
    synthetic_every: int = 500
    sampling: dict[str, Any] = field(default_factory=lambda: {'num_neighbors': 8})
    lr: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: float = 0.05
    clip: float = 1.0
    huber_delta: float = 0.25
    ema: float = 0.999
    episode_steps: int = 0
    episode_rate: float = 0.3
    num_evals: int = 8
    max_eval_share: float = 0.1
    max_val_rows: int = 200
    save_every: int = 200
    save_minutes: float = 5.0
    max_rollbacks: int = 10
    explosion: float = 10.0
    num_workers: int = 0
    precision: str = '32-true'
    accelerator: str = 'auto'
    compile: bool = False
    seed: int = 0

    @classmethod
    def from_file(cls, path: str | Path, **changes: Any) -> 'PretrainConfig':
        r"""Reads a JSON object of fields.

        Args:
            path (str): The file.
            **changes: Fields that go before those of the file.

        Raises:
            ValueError: If the file is no JSON object, or names an unknown field.
        """
        try:
            content = json.loads(Path(path).read_text())
        except ValueError as error:
            raise ValueError(f"'{path}' is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"'{path}' must hold a JSON object of fields")
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(content) - set(known))
        if unknown:
            raise ValueError(
                f"'{path}' names unknown fields {unknown} (known are: "
                f'{", ".join(known)})'
            )
        return cls(**content | changes)

    def __post_init__(self) -> None:
        for name in (
            'batch_size',
            'group_size',
            'accumulate',
            'save_every',
            'synthetic_every',
        ):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"'{name}' must be positive (got {self.__dict__[name]})"
                )
        for name in ('flip_rate', 'negate_rate'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"'{name}' must lie in [0, 1] (got {self.__dict__[name]})"
                )
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"'drop_rate' must lie in [0, 1) (got {self.drop_rate})")
        if self.drop_rate and self.masking.get('foreign_key'):
            raise ValueError(
                "'drop_rate' may leave nothing of a row whose link is hidden: make it "
                f"0, or leave 'foreign_key' out of 'masking' (got {self.drop_rate})"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"'ema' must lie in [0, 1) (got {self.ema})")
        if self.episode_steps < 0 or self.episode_steps == 1:
            raise ValueError(
                f"'episode_steps' must be 0, or at least 2 (got {self.episode_steps})"
            )
        if not 0 < self.episode_rate <= 1:
            raise ValueError(
                f"'episode_rate' must lie in (0, 1] (got {self.episode_rate})"
            )
        if self.num_steps is not None and self.num_steps < self.episode_steps:
            raise ValueError(
                "'num_steps' must be as many as 'episode_steps' at least, as only "
                f'whole episodes count (got {self.num_steps}, {self.episode_steps})'
            )
        if self.synthetic_pool and self.synthetic_every % max(1, self.episode_steps):
            raise ValueError(
                "'synthetic_every' must be a multiple of 'episode_steps' (got "
                f'{self.synthetic_every}, {self.episode_steps})'
            )
        if self.explosion <= 1:
            raise ValueError(f"'explosion' must be above 1 (got {self.explosion})")
        rate: Any = self.mask_rate
        if isinstance(rate, (int, float)):
            rate = (rate, rate)
        self.mask_rate = (rate[0], rate[1])
        hidden, random, own = self.corruption  # Lists in files.
        self.corruption = (hidden, random, own)
        if not isinstance(self.num_cells, (list, tuple)) or not self.num_cells:
            raise ValueError(
                f"'num_cells' must be a list of sizes (got {self.num_cells!r})"
            )
        known = sorted(set(SAMPLING) - {'num_cells'})
        unknown = sorted(set(self.sampling) - set(known))
        if unknown:
            raise ValueError(
                f"'sampling' names unknown arguments (got {unknown}, known are: "
                f'{", ".join(known)})'
            )

    @property
    def settings(self) -> dict[str, Any]:
        r"""The fields that determine the losses of a run."""
        free = {
            'num_workers',
            'accelerator',
            'accumulate',
            'compile',
            'save_every',
            'save_minutes',
            'num_evals',
            'max_eval_share',
            'max_val_rows',
        }
        return {k: v for k, v in vars(self).items() if k not in free}
