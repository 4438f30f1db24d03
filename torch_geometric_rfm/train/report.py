import csv
from pathlib import Path
from typing import Any

from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.train.schedule import Budget


class MetricsLog:
    r"""Keeps the figures of a run, and writes them to :obj:`metrics.csv`, and the
    losses of each column to :obj:`columns.csv`.

    Args:
        folder: The run folder, or :obj:`None` to keep them in memory alone.
    """

    def __init__(self, folder: Any = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.rows: list[dict[str, Any]] = []
        self.columns: list[dict[str, Any]] = []
        self._figures: dict[str, list[Any]] = {}
        self._losses: dict[str, list[float]] = {}
        self._skipped = 0

    def count(self, loss_fn: MaskedCellLoss, prefix: str = '') -> None:
        r"""Takes note of the figures of the last loss, by cell type and by column."""
        losses = {f'{kind}_loss': v for kind, v in loss_fn.last_figures.items()}
        for name, value in (losses | loss_fn.last_retrieval).items():
            self._figures.setdefault(prefix + name, []).append(value)
        for column, loss in loss_fn.column_figures().items():
            self._losses.setdefault(column, []).append(loss)
        self._skipped += loss_fn.last_skipped

    def add(
        self,
        budget: Budget,
        losses: list[float],
        metrics: dict[str, dict[str, float]],
        lr: float,
    ) -> None:
        r"""Adds a line: mean loss and figures since the last one, the contexts that
        were skipped, and the val metrics.
        """
        row: dict[str, Any] = {
            'step': budget.step,
            'seconds': round(budget.seconds, 2),
            'train_loss': sum(losses) / max(1, len(losses)),
            'learning_rate': lr,
        }
        for name, values in self._figures.items():
            mean = sum(map(float, values)) / max(1, len(values))
            row[f'train_{name}'] = mean if values else ''
            self._figures[name] = []
        row['train_skipped'], self._skipped = self._skipped, 0
        for task, figures in metrics.items():
            for name, value in figures.items():
                key = f'val_{name}' if len(metrics) == 1 else f'val_{task}_{name}'
                row[key] = value
        self.rows.append(row)
        for column, values in sorted(self._losses.items()):
            figures = {'batches': len(values), 'train_loss': sum(values) / len(values)}
            self.columns.append({'step': budget.step, 'column': column, **figures})
        self._losses = {}
        if self.folder is not None:
            _write(self.folder / 'metrics.csv', self.rows)
            if self.columns:  # Losses of links have none.
                _write(self.folder / 'columns.csv', self.columns)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open('w', newline='') as file:
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names))
        writer.writeheader()
        writer.writerows(rows)


class _SilentBar:
    def __enter__(self) -> '_SilentBar':
        return self

    def __exit__(self, *args: Any) -> None:
        pass

    def update(
        self, progress: float, loss: float, metrics: dict[str, dict[str, float]]
    ) -> None:
        pass


class _RichBar(_SilentBar):
    # Loss, best val metrics and time left, on one line.
    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn('training'),
            BarColumn(),
            TextColumn('{task.percentage:>3.0f}%'),
            TextColumn('{task.description}'),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
        )
        self.task = self.bar.add_task('', total=1.0)
        self.mean: float | None = None

    def __enter__(self) -> '_RichBar':
        self.bar.start()
        return self

    def __exit__(self, *args: Any) -> None:
        self.bar.stop()

    def update(
        self, progress: float, loss: float, metrics: dict[str, dict[str, float]]
    ) -> None:
        self.mean = loss if self.mean is None else 0.98 * self.mean + 0.02 * loss
        best = ', '.join(
            f'{name} {value:.4f}'
            for figures in metrics.values()
            for name, value in figures.items()
        )
        text = f'loss {self.mean:.4f}' + (f', best val {best}' if best else '')
        self.bar.update(self.task, completed=progress, description=text)


def training_bar(show: bool) -> _SilentBar:
    r"""A progress bar on the terminal, or one that draws nothing."""
    if not show:
        return _SilentBar()
    try:
        return _RichBar()
    except ImportError:
        return _SilentBar()
