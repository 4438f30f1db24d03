from dataclasses import dataclass
from typing import Any

FINE_TUNING: dict[str, Any] = {'drop_rate': 0.6, 'eval_start': True}
r"""What differs where a model that was trained before is trained further on tasks with
labels, unless told otherwise."""


@dataclass
class TrainConfig:
    r"""How to train.

    Args:
        minutes (float, optional): Wall-clock minutes, evaluations included.
        num_steps (int, optional): Optimizer steps.
        batch_size (int): Contexts of a step.
        temperature (float): How evenly the tasks of a joint training share a
            batch: 1 is in proportion to their rows, above is more even.
        lr (float): Peak learning rate of AdamW.
        weight_decay (float): Decay of matrices; norms and biases have none.
        warmup (float): Share of the budget in which the rate rises.
        clip (float): Largest norm of the gradient.
        huber_delta (float): See
            :class:`~torch_geometric_rfm.loss.MaskedCellLoss`. Well below 1, as
            RelBench scores the absolute error.
        ema (float): Decay of the moving average of the weights that is
            evaluated and kept; 0 keeps the weights themselves.
        num_evals (int): Evaluations on val over the budget.
        eval_start (bool): Whether it is evaluated before the first step too, so that
            a model that is trained further ends no worse than it began, on the val
            rows that are scored and in the mean over tasks. Recommenders always are.
        max_eval_share (float): With a budget of minutes alone, evaluations are
            put off while they took more than this share of the time.
        patience (int): Evaluations without a better one before it stops.
        max_val_rows (int): Val rows that are scored, drawn once.
        protocol (str): Protocol of the val scores.
        mask_weight (float): Further cells of training contexts are hidden, see
            :class:`~torch_geometric_rfm.transforms.MaskCells`, and predicted; their
            loss counts by this factor beside that of the labels. With 0 none are.
        mask_rate (tuple): Range of the share of further cells that are hidden.
        drop_rate (float): Of each training context a share of the cells is left out
            at random, at most this one, see
            :class:`~torch_geometric_rfm.transforms.DropCells`; 0 for none.
        num_workers (int): Processes that sample.
        precision (str): Precision of Lightning Fabric.
        accelerator (str): Accelerator of Lightning Fabric.
        seed (int): Determines weights, batches and draws.
    """

    minutes: float | None = 5.0
    num_steps: int | None = None
    batch_size: int = 16
    temperature: float = 2.0
    lr: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: float = 0.05
    clip: float = 1.0
    huber_delta: float = 0.02
    ema: float = 0.99
    num_evals: int = 12
    eval_start: bool = False
    max_eval_share: float = 0.15
    patience: int = 8
    max_val_rows: int = 1000
    protocol: str = 'rolling'
    mask_weight: float = 0.0
    mask_rate: tuple[float, float] = (0.15, 0.3)
    drop_rate: float = 0.0
    num_workers: int = 0
    precision: str = '32-true'
    accelerator: str = 'auto'
    seed: int = 0
