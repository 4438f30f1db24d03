import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from torch_geometric_rfm.data import get_text_encoder
from torch_geometric_rfm.train import PretrainConfig, pretrain
from torch_geometric_rfm.train.checkpoint import check_folder
from torch_geometric_rfm.train.mixture import expand_sources, open_databases


def read_config(path: Path | None, changes: dict[str, Any]) -> PretrainConfig:
    r"""The configuration of a file and of options, which go before it.

    Raises:
        ValueError: If neither says how long to train.
    """
    config = (
        PretrainConfig(**changes)
        if path is None
        else PretrainConfig.from_file(path, **changes)
    )
    if config.minutes is None and config.num_steps is None:
        raise ValueError('say how long to train: --minutes M or --steps N')
    return config


def run_pretraining(
    console: Console,
    databases: list[str],
    out: Path,
    config: PretrainConfig,
    text_encoder: str | None = None,
    skip_errors: bool = False,
    **kwargs: Any,
) -> dict[str, Any]:
    r"""Prepares databases, trains, and prints what came of it."""
    check_folder(out)
    encoder = get_text_encoder(text_encoder)

    def show(message: Any, *_: Any, **__: Any) -> None:
        console.print(f'[yellow]Warning:[/] {escape(str(message))}')

    with warnings.catch_warnings():
        warnings.simplefilter('always', UserWarning)
        warnings.showwarning = show
        opened = []
        for source in expand_sources(databases):
            with console.status(f'reading {source}'):
                opened += open_databases(
                    [source],
                    encoder,
                    skip_errors,
                    generated_tasks=config.generated_tasks,
                    seed=config.seed,
                )
            for database in opened[-1:]:
                console.print(f'{database.name}: {len(database.tasks)} tasks')
                for task, reason in database.skipped.items():
                    console.print(f'  left out: {escape(task)} ({escape(reason)})')
        try:
            result = pretrain(opened, out, config, text_encoder=encoder, **kwargs)
        except RuntimeError as error:  # Too many bad batches.
            raise ValueError(str(error)) from error
    if result.interrupted:
        console.print('interrupted: go on with --resume')
    _print_metrics(result.metrics, console)
    console.print(
        f'{result.steps:,} steps, {result.contexts:,} contexts, {result.seconds:.0f} s '
        f'({result.contexts_per_second:.1f} contexts a second)'
    )
    console.print(f'the model and metrics.csv are in {out}')
    return {
        'steps': result.steps,
        'contexts': result.contexts,
        'seconds': round(result.seconds, 2),
        'contexts_per_second': round(result.contexts_per_second, 2),
        'metrics': result.metrics,
        'skipped': result.skipped,
        'interrupted': result.interrupted,
    }


def _print_metrics(metrics: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(title='val rows, rolling protocol')
    for name in ('', 'loss', 'metric'):
        table.add_column(name)
    for name, figures in metrics.items():
        main = [f'{k} {v:.4f}' for k, v in figures.items() if k != 'loss'][:1]
        table.add_row(name, f'{figures["loss"]:.4f}', *main)
    console.print(table)
