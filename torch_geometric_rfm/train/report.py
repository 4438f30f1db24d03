import csv
from pathlib import Path
from typing import Any

from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.train.schedule import Budget


class _Means:
    # The mean of each of several figures since it was last taken.
    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, value: float) -> None:
        total, count = self.sums.get(name, (0.0, 0))
        self.sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, tuple[float, int]]:
        # Mean and count; names without a value since are kept, with a count of 0.
        out = {name: (t / max(1, n), n) for name, (t, n) in self.sums.items()}
        self.sums = dict.fromkeys(self.sums, (0.0, 0))
        return out


class MetricsLog:
    r"""Keeps the figures of a run, and writes them to :obj:`metrics.csv`, and the
    losses of each column to :obj:`columns.csv`.

    Columns, and foreign keys with hidden links, go by their phrases: those of the same
    name in several databases are one.

    Args:
        folder: The run folder, or :obj:`None` to keep them in memory alone.
    """

    def __init__(self, folder: Any = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.rows: list[dict[str, Any]] = []
        self.columns: list[dict[str, Any]] = []
        self._figures, self._losses = _Means(), _Means()
        self._skipped = 0

    def count(self, loss_fn: MaskedCellLoss, prefix: str = '') -> None:
        r"""Takes note of the figures of the last loss, by cell type and by column."""
        losses = {f'{kind}_loss': v for kind, v in loss_fn.last_figures.items()}
        for name, value in (losses | loss_fn.last_retrieval).items():
            self._figures.add(prefix + name, float(value))
        for column, loss in loss_fn.column_figures().items():
            self._losses.add(prefix + column, loss)
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
            'train_loss': sum(losses) / len(losses) if losses else '',
            'learning_rate': lr,
        }
        for name, (mean, number) in self._figures.take().items():
            row[f'train_{name}'] = mean if number else ''
        row['train_skipped'], self._skipped = self._skipped, 0
        for task, figures in metrics.items():
            for name, value in figures.items():
                key = f'val_{name}' if len(metrics) == 1 else f'val_{task}_{name}'
                row[key] = value
        self.rows.append(row)
        for column, (mean, number) in sorted(self._losses.take().items()):
            if number:
                line = {'step': budget.step, 'column': column}
                self.columns.append(line | {'batches': number, 'train_loss': mean})
        if self.folder is not None:
            _write(self.folder / 'metrics.csv', self.rows)
            if self.columns:  # Those of recommendations have none.
                _write(self.folder / 'columns.csv', self.columns)

    def state_dict(self) -> dict[str, Any]:
        r"""All that a run goes on from."""
        return {
            'rows': list(self.rows),
            'columns': list(self.columns),
            'figures': dict(self._figures.sums),
            'losses': dict(self._losses.sums),
            'skipped': self._skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        r"""Goes on from a state."""
        self.rows, self.columns = list(state['rows']), list(state['columns'])
        self._figures.sums = dict(state['figures'])
        self._losses.sums = dict(state['losses'])
        self._skipped = state['skipped']


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
