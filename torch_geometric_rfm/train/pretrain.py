from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from torch_geometric_rfm.data.cell_data import CellData
from torch_geometric_rfm.data.text_encoder import (
    TextEncoder,
    check_identity,
    get_text_encoder,
)
from torch_geometric_rfm.loader.mixture_loader import MixtureLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.sampler.context_policy import DEFAULT_OWN_LABELS
from torch_geometric_rfm.train.averaging import (
    average_weights,
    clone_state,
    weights_of,
)
from torch_geometric_rfm.train.bad_batch import find_culprit
from torch_geometric_rfm.train.checkpoint import (
    load_checkpoint,
    prepare_folder,
    save_checkpoint,
    undo_shrink,
)
from torch_geometric_rfm.train.interrupt import Interrupt
from torch_geometric_rfm.train.mixture import open_databases
from torch_geometric_rfm.train.mixture_stream import MixtureStream
from torch_geometric_rfm.train.optimizer import make_fabric, make_optimizer, set_lr
from torch_geometric_rfm.train.pretrain_config import PretrainConfig
from torch_geometric_rfm.train.pretrain_run import PretrainRun
from torch_geometric_rfm.train.report import training_bar
from torch_geometric_rfm.train.run_state import STATE_FILE, load_state, save_state
from torch_geometric_rfm.train.schedule import episode_warmup, warmup_cosine
from torch_geometric_rfm.train.watch import Watch
from torch_geometric_rfm.transforms.masking.arguments import check_strategies


@dataclass
class PretrainResult:
    r"""What a pretraining run came to.

    Args:
        steps, contexts: How much was trained.
        seconds: Wall-clock time, of all its parts if it was resumed.
        contexts_per_second: Rate of training alone, since the last start.
        losses: The loss of every step.
        metrics: The last val figures, by :obj:`<database>/<task>`; those of
            databases that were held out begin with :obj:`held out`.
        skipped: The batches that were bad, and what was to blame.
        interrupted: Whether Ctrl-C ended it.
    """

    steps: int
    contexts: int
    seconds: float
    contexts_per_second: float
    losses: list[float]
    metrics: dict[str, dict[str, float]]
    skipped: list[str]
    interrupted: bool
    history: list[dict[str, Any]] = field(default_factory=list)


def pretrain(
    databases: Sequence[Any],
    out: str | Path,
    config: PretrainConfig | None = None,
    exclude: Sequence[str] = (),
    text_encoder: TextEncoder | str | None = 'hashing',
    init: str | Path | None = None,
    resume: bool = False,
    skip_errors: bool = False,
    cache_dir: str | Path | None = None,
    show_progress: bool = True,
) -> PretrainResult:
    r"""Trains one model on the tasks of many databases.

    Every step is a batch of many databases, or in episodes of one task, see
    :class:`~torch_geometric_rfm.loader.MixtureLoader`. The folder gets
    :obj:`model.safetensors` with the averaged weights,
    which :class:`~torch_geometric_rfm.RelationalPredictor` loads,
    :obj:`metrics.csv`, :obj:`columns.csv` with the mean loss of each column (of the
    first process) since the evaluation before, and :obj:`state.pt` to go on from. Of a
    process that is killed at most the steps since the last checkpoint are lost, and
    those that follow have the losses they would have had. Started by :obj:`torchrun`,
    its processes share each batch, which gives the same losses as one process.

    A batch whose loss or gradient is not finite, or whose loss explodes, takes
    training back to the last checkpoint and is skipped, in episodes with the rest of
    its own, with a warning that names the database and the column.

    Args:
        databases (list): What :func:`~torch_geometric_rfm.data.prepare_database`
            takes, and :obj:`"synthetic:FIRST-LAST"` for synthetic databases.
        out (str): The run folder.
        config (PretrainConfig, optional): How to train. (default: :obj:`None`)
        exclude (list): Names of databases that are scored on their val rows, and
            not trained on. (default: :obj:`()`)
        text_encoder (TextEncoder or str, optional): The text encoder.
            (default: :obj:`"hashing"`)
        init (str, optional): A checkpoint to start from; a new model if not given.
            (default: :obj:`None`)
        resume (bool): Whether to go on with the run in the folder, if there is one.
            (default: :obj:`False`)
        skip_errors (bool): Whether databases that fail are left out, with a warning.
            (default: :obj:`False`)
        cache_dir (str, optional): See
            :func:`~torch_geometric_rfm.data.prepare_database`.
            (default: :obj:`None`)
        show_progress (bool): Whether to draw a progress bar.
            (default: :obj:`True`)

    Raises:
        FileExistsError: If the folder holds a run and :obj:`resume` is not set.
        OSError: If the disk has no room for a checkpoint; the one before stays.
        RuntimeError: If too many batches are bad.
        ValueError: If a database fails, nothing can be trained on, the run in the
            folder has another configuration, a text encoder is another one, or links
            are hidden that the model does not predict.

    Example:
        >>> import tempfile
        >>> from torch_geometric_rfm.data import PreparedDatabase
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> store = toy_task_store()
        >>> shop = PreparedDatabase('shop', store.store, [store.task])
        >>> config = PretrainConfig(num_steps=2, batch_size=8, num_cells=[16])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = pretrain([shop], folder, config, show_progress=False)
        >>> result.steps, len(result.losses)
        (2, 2)
    """
    config = config or PretrainConfig(minutes=5.0)
    folder = _run_folder(out, resume)
    fabric = make_fabric(config.accelerator, config.precision, distributed=True)

    # Databases:
    encoder = get_text_encoder(text_encoder)
    generated = config.generated_tasks, config.seed
    opened = open_databases(databases, encoder, skip_errors, cache_dir, *generated)
    unknown = sorted(set(exclude) - {database.name for database in opened})
    if unknown:
        raise ValueError(
            f"'exclude' names unknown databases (got {unknown}, known are: "
            f'{", ".join(database.name for database in opened)})'
        )
    trained = [database for database in opened if database.name not in exclude]
    held_out = [database for database in opened if database.name in exclude]
    sampling = {'own_labels': DEFAULT_OWN_LABELS, **config.sampling}
    arguments = {
        'batch_size': config.batch_size,
        'group_size': config.group_size,
        'num_cells': config.num_cells,
        'temperature': config.temperature,
        'weights': config.weights or None,
        'flip_rate': config.flip_rate,
        'negate_rate': config.negate_rate,
        'episode_steps': max(1, config.episode_steps),
        'seed': config.seed,
        'rank': fabric.global_rank,
        'num_replicas': fabric.world_size,
        'num_slices': config.accumulate,
        'num_workers': config.num_workers,
        **sampling,
    }
    mixture = MixtureStream(
        trained, config, encoder, lambda parts: MixtureLoader(parts, **arguments)
    )
    sampling['num_cells'] = max(config.num_cells)
    watched = {'seed': config.seed, 'max_rows': config.max_val_rows, **sampling}
    labelled = [d for d in trained if d.name not in config.unlabelled]
    watches = {
        '': Watch(labelled, **watched),
        'held out ': Watch(held_out, **watched),
    }

    # Model and optimizer:
    model = _model(config, encoder, init)
    optimizer: Any = make_optimizer(model, config.lr, config.weight_decay)
    compiled: Any = torch.compile(model, dynamic=True) if config.compile else model
    loss_fn = MaskedCellLoss(config.huber_delta, reduction='context')
    network, optimizer = fabric.setup(_Objective(compiled, loss_fn), optimizer)
    averaged = clone_state(model)

    # Where the run stands:
    run = PretrainRun(folder, model, optimizer, averaged, config)
    settings = {
        **config.settings,
        'model': model.config,
        'text_encoder': encoder.identity(),
        'init': None if init is None else str(init),
        'databases': [str(database) for database in trained],
        'parts': [f'{part}: {part.num_inputs}' for part in mixture.parts],
    }
    model_defaults = {'copy_attention': (), 'link_head': False}
    defaults = PretrainConfig().settings | {'model': model_defaults}
    state = load_state(folder, settings, defaults) if resume else None
    predictor = {
        'text_encoder': encoder.identity(),
        'sampling': sampling,
        'training': {**vars(config), 'databases': [d.name for d in trained]},
    }
    if state is not None:
        run.restore(state)
    batches = mixture.batches(run.position)
    first = [next(batches) for _ in range(config.accumulate)]
    run.budget.resume(run.budget.step, 0.0 if state is None else state['seconds'])

    def save(good: dict[str, Any]) -> None:
        if fabric.global_rank == 0:
            save_state(folder, good, settings)
            with weights_of(model, averaged):
                save_checkpoint(folder, model, predictor)

    good = run.capture()
    save(good)  # Also of a resumed run, whose model may be older than its state.
    budget, log = run.budget, run.log
    saved_at, train_seconds, eval_seconds = budget.seconds, 0.0, 0.0
    contexts_before, interrupt = run.contexts, Interrupt()
    next_eval = _next_eval(budget.progress, config)

    def clock() -> tuple[float, float, float, bool]:
        # That of the first process, so that all of them do the same.
        now = budget.progress, budget.seconds, eval_seconds, interrupt.pending
        return fabric.broadcast(now) if fabric.world_size > 1 else now

    progress, seconds, spent, interrupted = clock()
    bar = training_bar(show_progress and fabric.global_rank == 0)
    with bar, interrupt:
        while progress < 1 and not interrupted:
            # One step, over the slices of a batch:
            start = budget.seconds
            if config.episode_steps:
                lr = config.lr * episode_warmup(run.position, config.episode_steps)
            else:
                lr = config.lr * warmup_cosine(progress, config.warmup)
            set_lr(optimizer, lr)
            total = torch.zeros(2, dtype=torch.float64, device=fabric.device)
            for i in range(config.accumulate):
                cells = first.pop(0) if first else next(batches)
                cells = cells.to(fabric.device)
                is_last = i == config.accumulate - 1
                with fabric.no_backward_sync(network, enabled=not is_last):
                    loss = network(cells)
                    log.count(loss_fn)
                    counted = cells.num_contexts - loss_fn.last_skipped
                    # The sum over contexts, to be divided by all that counted:
                    fabric.backward(loss * counted)
                total += total.new_tensor([loss.item() * counted, counted])
            total = fabric.all_reduce(total, reduce_op='sum')
            count = max(float(total[1]), 1.0)
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(fabric.world_size / count)
            norm = fabric.clip_gradients(
                network, optimizer, max_norm=config.clip, error_if_nonfinite=False
            )
            step_loss = float(total[0]) / count
            run.position += 1

            # A bad batch takes it back:
            if run.guard.is_bad(step_loss) or not torch.isfinite(norm):
                optimizer.zero_grad()
                bad = run.position - 1
                run.roll_back(
                    good,
                    step_loss,
                    find_culprit(
                        model,
                        mixture.loader(bad),
                        bad,
                        loss_fn,
                        fabric.device,
                    ),
                )
                for _ in range((run.position - bad - 1) * config.accumulate):
                    next(batches)  # The rest of its episode.
                progress, seconds, spent, interrupted = clock()
                continue
            optimizer.step()
            optimizer.zero_grad()
            budget.step += 1
            if not config.episode_steps:
                decay = min(config.ema, budget.step / (budget.step + 10))
                average_weights(averaged, model, decay)
            elif run.position % config.episode_steps == 0:
                run.end_episode(config.episode_rate * (1 - progress))
            run.losses.append(step_loss)
            run.contexts += config.batch_size
            train_seconds += budget.seconds - start
            progress, seconds, spent, interrupted = clock()
            bar.update(progress, step_loss, {})

            # An evaluation of the averaged weights:
            on_time = spent <= config.max_eval_share * seconds
            due = progress >= next_eval and (config.num_steps or on_time)
            if config.num_evals and (due or progress >= 1):
                start = budget.seconds
                next_eval = _next_eval(progress, config)
                if fabric.global_rank == 0:
                    with weights_of(model, averaged), fabric.autocast():
                        run.metrics = {
                            prefix + name: figures
                            for prefix, watch in watches.items()
                            for name, figures in watch(compiled, loss_fn).items()
                        }
                    log.add(budget, run.new_losses(), run.metrics, lr)
                fabric.barrier()
                eval_seconds += budget.seconds - start

            # A checkpoint:
            late = seconds - saved_at > 60 * config.save_minutes
            due = budget.step % config.save_every == 0 or late
            if due or interrupted or progress >= 1:
                good, saved_at = run.capture(), seconds
                save(good)
    model.load_state_dict(averaged)
    return PretrainResult(
        steps=budget.step,
        contexts=run.contexts,
        seconds=budget.seconds,
        contexts_per_second=(run.contexts - contexts_before) / max(train_seconds, 1e-9),
        losses=run.losses,
        metrics=run.metrics,
        skipped=run.skipped,
        interrupted=interrupted,
        history=log.rows,
    )


def _run_folder(out: str | Path, resume: bool) -> Path:
    folder = prepare_folder(out)
    has_state = (folder / STATE_FILE).exists()
    if has_state and not resume:
        raise FileExistsError(
            f"folder '{folder}' holds a run already. Resume it (--resume), or choose "
            f'another folder.'
        )
    if (folder / 'model.safetensors').exists() and not has_state:
        raise FileExistsError(
            f"folder '{folder}' holds a model without the state of a run, which would "
            'be overwritten. Choose another folder.'
        )
    return folder


class _Objective(torch.nn.Module):
    # Model and loss in one: heads that a batch has no cells for are not reached from
    # what it returns, so that no process waits for their gradients.
    def __init__(self, model: torch.nn.Module, loss_fn: MaskedCellLoss) -> None:
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, cells: CellData) -> torch.Tensor:
        return self.loss_fn(self.model(cells, all_heads=True), cells)


def _model(
    config: PretrainConfig, encoder: TextEncoder, init: str | Path | None
) -> RelationalTransformer:
    strategies = check_strategies(config.masking)
    hides_links = any(one.hides_links for one, weight in strategies if weight)
    if init is None:
        torch.manual_seed(config.seed)
        shape = {'text_channels': encoder.channels, 'link_head': hides_links}
        model = RelationalTransformer.small(**shape | config.model)
        _check_link_head(model, hides_links, f"'model' (got {config.model})")
        return model
    if config.model:
        raise ValueError(
            f"a model that starts from checkpoint '{init}' has its shape: leave out "
            f"'model' (got {config.model})"
        )
    model, predictor = load_checkpoint(init)
    check_identity(encoder, predictor['text_encoder'])
    _check_link_head(model, hides_links, f"checkpoint '{init}'")
    undo_shrink(model, predictor['training'])
    torch.manual_seed(config.seed)
    return model.train()


def _check_link_head(
    model: RelationalTransformer, hides_links: bool, source: str
) -> None:
    if hides_links and model.link_decoder is None:
        raise ValueError(
            f"'masking' hides links, which the model of {source} does not predict. "
            "Leave 'foreign_key' out, or take a model with link_head=True."
        )


def _next_eval(progress: float, config: PretrainConfig) -> float:
    if not config.num_evals:
        return float('inf')
    return (int(progress * config.num_evals + 1e-9) + 1) / config.num_evals
