from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_geometric_rfm.train.averaging import average_weights, clone_state
from torch_geometric_rfm.train.optimizer import set_lr
from torch_geometric_rfm.train.report import MetricsLog, training_bar
from torch_geometric_rfm.train.schedule import Budget, warmup_cosine
from torch_geometric_rfm.train.train_config import TrainConfig


@dataclass
class FitResult:
    r"""What a training run came to.

    Args:
        score: The best mean val score, higher is better.
        metrics: The val metrics then, by task.
        steps, contexts: How much was trained.
        seconds: Wall-clock time of the run.
        contexts_per_second: Rate of training alone.
        interrupted: Whether Ctrl-C ended it.
    """

    score: float
    metrics: dict[str, dict[str, float]]
    steps: int
    contexts: int
    seconds: float
    contexts_per_second: float
    interrupted: bool
    history: list[dict[str, Any]] = field(default_factory=list)


def run_training(
    model: torch.nn.Module,
    network: Any,
    optimizer: Any,
    fabric: Any,
    config: TrainConfig,
    step: Callable[[], tuple[Tensor, int]],
    evaluate: Callable[[], tuple[dict[str, dict[str, float]], float]],
    log: MetricsLog,
    what: Any,
    save: Callable[[Any], None] | None = None,
    show_progress: bool = True,
    eval_start: bool = False,
    budget: Budget | None = None,
) -> FitResult:
    r"""Takes steps and evaluates until the budget is over or val gets no better.

    The model ends with the averaged weights that scored best on val. Ctrl-C ends the
    training early and keeps the best weights until then.

    Args:
        model: The model, trained in place.
        network: The model as Fabric wrapped it.
        optimizer: Its optimizer.
        fabric: Lightning Fabric.
        config: How to train.
        step: Computes the loss of the next batch, and says how many contexts it has.
        evaluate: Scores the model on val: metrics by task, and one number, the higher
            the better.
        log: Keeps the figures.
        what: What is trained, for errors.
        save: Called with the model whenever it has become better, and at the end.
        show_progress: Whether to draw a progress bar.
        eval_start: Whether it is evaluated before the first step too.
        budget: The budget, if it began earlier.

    Raises:
        ValueError: If the loss is not finite.
    """
    averaged = clone_state(model)
    budget = budget or Budget(config.num_steps, config.minutes)
    best, best_state, stale = -float('inf'), None, 0
    best_metrics: dict[str, dict[str, float]] = {}
    contexts, train_seconds, interrupted = 0, 0.0, False
    next_eval = 1 / config.num_evals
    eval_seconds = 0.0
    losses: list[float] = []
    bar = training_bar(show_progress)

    def look(lr: float) -> None:
        # An evaluation of the averaged weights.
        nonlocal best, best_state, best_metrics, stale, losses, eval_seconds
        start = budget.seconds
        current = clone_state(model)
        model.load_state_dict(averaged)
        metrics, score = evaluate()
        log.add(budget, losses, metrics, lr)
        losses = []
        if score > best:
            best, best_metrics, stale = score, metrics, 0
            best_state = clone_state(model)
            if save is not None:
                save(model)
        else:
            stale += 1
        model.load_state_dict(current)
        eval_seconds += budget.seconds - start

    try:
        with bar:
            if eval_start:
                look(0.0)
            # One step at least, however long the first evaluation took.
            while (budget.progress < 1 or not budget.step) and stale < config.patience:
                # One step:
                start = budget.seconds
                lr = config.lr * warmup_cosine(budget.progress, config.warmup)
                set_lr(optimizer, lr)
                loss, count = step()
                losses.append(loss.item())
                if not np.isfinite(losses[-1]):
                    raise ValueError(
                        f'the loss is not finite (got {losses[-1]} in step '
                        f'{budget.step + 1} of {what}). Lower lr (got {config.lr}).'
                    )
                fabric.backward(loss)
                fabric.clip_gradients(
                    network, optimizer, max_norm=config.clip, error_if_nonfinite=False
                )
                optimizer.step()
                optimizer.zero_grad()
                budget.step += 1
                decay = min(config.ema, budget.step / (budget.step + 10))
                average_weights(averaged, model, decay)
                contexts += count
                train_seconds += budget.seconds - start
                bar.update(budget.progress, losses[-1], best_metrics)

                # An evaluation:
                share = eval_seconds / max(budget.seconds, 1e-9)
                due = budget.progress >= next_eval and (
                    config.num_steps or share <= config.max_eval_share
                )
                if due or budget.progress >= 1:
                    while next_eval <= budget.progress:
                        next_eval += 1 / config.num_evals
                    look(lr)
    except KeyboardInterrupt:
        interrupted = True
    model.load_state_dict(averaged if best_state is None else best_state)
    model.eval()
    if save is not None:
        save(model)
    return FitResult(
        score=best,
        metrics=best_metrics,
        steps=budget.step,
        contexts=contexts,
        seconds=budget.seconds,
        contexts_per_second=contexts / max(train_seconds, 1e-9),
        interrupted=interrupted,
        history=log.rows,
    )
