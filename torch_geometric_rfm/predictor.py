import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from torch_geometric_rfm.data import (
    LinkTask,
    Task,
    TaskStore,
    check_identity,
    get_text_encoder,
)
from torch_geometric_rfm.data.keys import entity_rows
from torch_geometric_rfm.data.opened_databases import OpenedDatabases
from torch_geometric_rfm.nn import RelationalRecommender, RelationalTransformer
from torch_geometric_rfm.train.calibration import Calibration
from torch_geometric_rfm.train.check_text_encoder import check_text_encoder
from torch_geometric_rfm.train.checkpoint import (
    load_checkpoint,
    prepare_folder,
    save_checkpoint,
    undo_shrink,
)
from torch_geometric_rfm.train.ensemble import predict_ensemble
from torch_geometric_rfm.train.find_checkpoint import find_checkpoint
from torch_geometric_rfm.train.fit import fit
from torch_geometric_rfm.train.fit_calibration import fit_calibration
from torch_geometric_rfm.train.fit_links import check_link_config, fit_links
from torch_geometric_rfm.train.multilabel import label_frame, mean_figures
from torch_geometric_rfm.train.predict_links import predict_links
from torch_geometric_rfm.train.prediction_frame import (
    interval_levels,
    prediction_frame,
)
from torch_geometric_rfm.train.recommend import (
    check_recommender,
    load_recommender,
    new_recommender,
    recommendation_frame,
    save_recommender,
)
from torch_geometric_rfm.train.sampling import SAMPLING
from torch_geometric_rfm.train.schedule import Budget
from torch_geometric_rfm.train.train_config import FINE_TUNING, TrainConfig
from torch_geometric_rfm.train.training_loop import FitResult


class RelationalPredictor:
    r"""Learns tasks of relational databases, and predicts them.

    Args:
        model (RelationalTransformer, optional): The model;
            :meth:`RelationalTransformer.small` for the text encoder if not
            given. (default: :obj:`None`)
        text_encoder (TextEncoder or str, optional): See
            :func:`~torch_geometric_rfm.data.get_text_encoder`; the one that
            the model demands, if any, if not given. (default: :obj:`None`)
        seed (int): Seed of the weights of a new model. (default: :obj:`0`)
        number_head (str): The head of numbers of a new model, see
            :class:`~torch_geometric_rfm.nn.CellDecoder`; intervals need
            :obj:`"quantile"` or :obj:`"bins"`. (default: :obj:`"value"`)
        **sampling: Arguments of
            :class:`~torch_geometric_rfm.loader.ContextLoader`.

    Raises:
        ValueError: If an argument of the sampler is unknown, or the model was
            made for another text encoder.

    Example:
        >>> from torch_geometric_rfm.testing import toy_task_store
        >>> predictor = RelationalPredictor(text_encoder='hashing', num_cells=32)
        >>> store = toy_task_store()
        >>> result = predictor.fit_stores([store], num_steps=2, minutes=None,
        ...                               show_progress=False)
        >>> predictor.predict_rows(store, 'test').shape == (len(
        ...     store.rows_of_split('test')), )
        True
    """

    def __init__(
        self,
        model: RelationalTransformer | None = None,
        text_encoder: Any = None,
        seed: int = 0,
        number_head: str = 'value',
        **sampling: Any,
    ) -> None:
        unknown = set(sampling) - set(SAMPLING)
        if unknown:
            raise ValueError(
                f'unknown arguments {sorted(unknown)} (known are: '
                f'{", ".join(SAMPLING)})'
            )
        if text_encoder is None and model is not None:
            text_encoder = model.text_encoder
        self.text_encoder = get_text_encoder(text_encoder)
        if model is None:
            torch.manual_seed(seed)
            model = RelationalTransformer.small(
                text_channels=self.text_encoder.channels, number_head=number_head
            )
        check_text_encoder(model, self.text_encoder)
        self.model = model
        self.sampling = {**SAMPLING, **sampling}
        self.training: dict[str, Any] = {}
        self.calibrations: dict[str, Calibration] = {}
        self.recommender: RelationalRecommender | None = None
        self._opened = OpenedDatabases(self.text_encoder)

    def open_task(self, db: Any, task: Any, horizon: Any = None) -> TaskStore:
        r"""The task of a database, ready to be sampled.

        The store of the database is built once and kept.

        Args:
            db (str, Path or relbench.base.Dataset): The database.
            task (str, relbench.base.BaseTask or Task): The task.
            horizon (str, optional): For external tasks, when labels become
                known. (default: :obj:`None`)
        """
        return self._opened.open_task(db, task, horizon)

    def open_tasks(self, db: Any, task: Any, horizon: Any = None) -> list[TaskStore]:
        r"""The task of a database, or of a multilabel one the binary task of each
        label (:func:`~torch_geometric_rfm.data.multilabel_tasks`), with a warning that
        names labels that are the same in all train or val rows, and are left out; see
        :meth:`open_task`.
        """
        return self._opened.open_tasks(db, task, horizon)

    def fit(
        self,
        db: Any,
        task: Any,
        out: str | Path | None = None,
        horizon: Any = None,
        show_progress: bool = True,
        **config: Any,
    ) -> FitResult:
        r"""Trains the model on one task of a database, or on several jointly.

        Args:
            db (str, Path or relbench.base.Dataset): The database.
            task (str or list): A task, or several.
            out (str, optional): Run folder for :obj:`config.json`,
                :obj:`metrics.csv`, :obj:`columns.csv`,
                :obj:`learning_curve.png` and :obj:`model.safetensors`.
                (default: :obj:`None`)
            horizon (str, optional): See :meth:`open_task`.
            show_progress (bool): Whether to draw a progress bar.
            **config: Fields of :class:`~torch_geometric_rfm.train.TrainConfig`. Of
                a predictor that was loaded or trained before, :obj:`drop_rate` is
                0.6 and :obj:`eval_start` set unless given; recommendation tasks
                leave out no cells. The model in the package begins, also where its
                start is scored, with all that it learned, of which it uses a part as
                it is (see :meth:`~torch_geometric_rfm.nn.CellDecoder.shrink`).
        """
        names = task if isinstance(task, (list, tuple)) else [task]
        opened = [self.open_tasks(db, name, horizon) for name in names]
        stores = [store for tasks in opened for store in tasks]
        return self.fit_stores(stores, out, show_progress, **config)

    def fit_stores(
        self,
        stores: list[TaskStore],
        out: str | Path | None = None,
        show_progress: bool = True,
        **config: Any,
    ) -> FitResult:
        r"""Trains on tasks already opened; see :meth:`fit`."""
        links = any(isinstance(store.task, LinkTask) for store in stores)
        if self.training and not links:
            config = FINE_TUNING | config
        train_config = TrainConfig(**config)
        for store in stores:
            self._check_store(store)
        if links:
            if len(stores) > 1:
                raise ValueError(
                    'a recommendation task is trained alone (got '
                    f'{[store.task.name for store in stores]})'
                )
            check_link_config(train_config)
            if self.recommender is not None:
                check_recommender(self.recommender, stores[0])
        for store in stores:
            store.task.labels_of_split('val')
        Budget(train_config.num_steps, train_config.minutes)
        folder = None if out is None else prepare_folder(out)
        # From here on its weights change.
        undo_shrink(self.model, self.training)
        self.calibrations = {}
        self.training = {'tasks': [s.task.name for s in stores], **vars(train_config)}
        save = None
        if folder is not None:

            def save(_: torch.nn.Module) -> None:
                self._save(folder)

        arguments = (train_config, folder, save, show_progress)
        if links:
            if self.recommender is None:
                torch.manual_seed(train_config.seed)
                self.recommender = new_recommender(self.model, stores[0])
            result = fit_links(self.recommender, stores[0], *arguments, **self.sampling)
        else:
            self.recommender = None  # Its encoder changes.
            result = fit(self.model, stores, *arguments, **self.sampling)
        if folder is not None:
            self._draw_curve(folder)
        return result

    def _save(self, folder: Path) -> None:
        settings = self._settings()
        if self.recommender is not None:
            settings['recommender'] = save_recommender(folder, self.recommender)
        save_checkpoint(folder, self.model, settings)

    def _settings(self) -> dict[str, Any]:
        return {
            'text_encoder': self.text_encoder.identity(),
            'sampling': self.sampling,
            'training': self.training,
            'calibrations': {k: vars(v) for k, v in self.calibrations.items()},
        }

    @staticmethod
    def _draw_curve(folder: Path) -> None:
        from torch_geometric_rfm.visualization import plot_learning_curve

        if not (folder / 'metrics.csv').exists():
            return
        try:
            plot_learning_curve(folder / 'metrics.csv', folder / 'learning_curve.png')
        except ImportError:
            return  # The curve is a picture of metrics.csv, which stands.

    def predict(
        self,
        db: Any,
        task: Any,
        split: str | None = None,
        protocol: str = 'rolling',
        entities: Any = None,
        time: Any = None,
        horizon: Any = None,
        progress: Any = None,
        interval: float | None = None,
        k: int | None = None,
        candidates: Any = None,
        num_contexts: int = 1,
    ) -> pd.DataFrame:
        r"""Predicts a split of a task, or entities that have no label yet.

        Args:
            db (str, Path or relbench.base.Dataset): The database.
            task (str, relbench.base.BaseTask or Task): The task.
            split (str, optional): The split; :obj:`"test"` if no entities are
                given. (default: :obj:`None`)
            protocol (str): :obj:`"rolling"` lets each row see up to its own
                time, :obj:`"frozen"` at most to the cutoff of its split.
            entities (pd.Series, optional): Primary keys of entities.
            time (pd.Timestamp or pd.Series, optional): When they are asked
                about.
            horizon (str, optional): See :meth:`open_task`.
            progress (callable, optional): Wraps the batches.
            interval (float, optional): Of numbers, the share of labels that shall
                lie between :obj:`lower` and :obj:`upper`, as :obj:`0.9`, for models
                with :obj:`number_head="quantile"` or :obj:`"bins"`.
            k (int, optional): Of a recommendation task the number of destinations;
                that of the task if not given. (default: :obj:`None`)
            candidates (pd.Series, optional): Of a recommendation task the primary
                keys of the destinations to choose among; all if not given.
                (default: :obj:`None`)
            num_contexts (int): See :meth:`predict_rows`.

        Returns:
            A frame with the entity, the time and :obj:`prediction`: a number
            in its own unit, the probability of true, or the most likely class,
            followed by :obj:`probability_<class>` of each; in place of it
            :obj:`probability_<label>` of each label of a multilabel task, all of them
            independent of each other. Of a recommendation task the entity, the time,
            the :obj:`rank`, the destination and its :obj:`score`, one line a
            destination.
        """
        stores = self.open_tasks(db, task, horizon)
        options = (protocol, entities, time, progress, interval, k, candidates)
        frames = [
            self._predict_store(store, split, *options, num_contexts)
            for store in stores
        ]
        if isinstance(task, Task) or stores[0].task.multilabel is None:
            return frames[0]
        return label_frame([store.task for store in stores], frames)

    def _predict_store(
        self,
        store: TaskStore,
        split: str | None,
        protocol: str,
        entities: Any,
        time: Any,
        progress: Any,
        interval: float | None,
        k: int | None,
        candidates: Any,
        num_contexts: int,
    ) -> pd.DataFrame:
        store, split, keys = self._opened.rows_asked(store, split, entities, time)
        times = store.task.frame[store.split == split]['time'].to_numpy()
        if isinstance(store.task, LinkTask):
            if interval is not None or num_contexts != 1:
                raise ValueError(
                    'interval and num_contexts are not of recommendation tasks, as '
                    f"'{store.task.name}' is"
                )
            best, score = self._predict_links(
                store, split, protocol, progress, k, candidates
            )
            return recommendation_frame(store.task, keys, times, best, score)
        if k is not None or candidates is not None:
            raise ValueError(
                f"k and candidates are of recommendation tasks; '{store.task.name}' "
                'is none'
            )
        if interval is not None:
            levels = interval_levels(interval)
            value, lower, upper = self.predict_rows(
                store, split, protocol, progress, levels, num_contexts
            ).T
            out = prediction_frame(store.task, keys, times, value)
            return out.assign(lower=lower, upper=upper)
        prediction = self.predict_rows(
            store, split, protocol, progress, num_contexts=num_contexts
        )
        return prediction_frame(store.task, keys, times, prediction)

    def predict_rows(
        self,
        store: TaskStore,
        rows: Any,
        protocol: str = 'rolling',
        progress: Any = None,
        levels: list[float] | None = None,
        num_contexts: int = 1,
    ) -> np.ndarray:
        r"""Predictions for a split or rows of an opened task, in their order; see
        :func:`~torch_geometric_rfm.train.predict_rows`. Of a recommendation task
        they are the rows of the best destinations :obj:`[n, k]`.

        Args:
            store (TaskStore): The task.
            rows (str or array): A split, or rows of the task table.
            protocol (str): See :meth:`predict`.
            progress (callable, optional): Wraps the batches.
            levels (list, optional): Quantiles to predict in place of the value.
            num_contexts (int): Contexts drawn for each row, whose predictions are
                averaged. They differ where something is drawn: with
                :obj:`random_labels`, or :obj:`temporal_strategy="uniform"`.

        Raises:
            ValueError: If the store was made with another text encoder.
        """
        self._check_store(store)
        if isinstance(store.task, LinkTask):
            return self._predict_links(store, rows, protocol, progress)[0]
        return predict_ensemble(
            num_contexts,
            self.model,
            store,
            rows,
            protocol,
            progress=progress,
            levels=levels,
            calibration=self.calibrations.get(_key(store.task)),
            **self.sampling,
        )

    def calibrate(
        self,
        db: Any,
        task: Any,
        split: str = 'val',
        protocol: str = 'rolling',
        horizon: Any = None,
        progress: Any = None,
    ) -> Calibration:
        r"""Makes the probabilities or the intervals of a task honest on a split, and
        counts whole where that is nearer; see
        :func:`~torch_geometric_rfm.train.fit_calibration`.

        What it finds is used in all further predictions of the task, is saved with the
        model, and is forgotten when it is trained further. Numbers of a model with
        quantiles stay as they are; the most likely class may change. One context a row
        is looked at, whatever :obj:`num_contexts` is later.

        Raises:
            ValueError: If the task recommends, or is multilabel (calibrate each of
                :meth:`open_tasks` by :meth:`calibrate_rows`), the split has no labels,
                or too few, or the model has no quantiles and labels are not whole.
        """
        return self.calibrate_rows(
            self.open_task(db, task, horizon), split, protocol, progress
        )

    def calibrate_rows(
        self,
        store: TaskStore,
        split: str = 'val',
        protocol: str = 'rolling',
        progress: Any = None,
    ) -> Calibration:
        r"""Calibrates an opened task; see :meth:`calibrate`."""
        self._check_store(store)
        options = {'progress': progress, **self.sampling}
        found = fit_calibration(self.model, store, split, protocol, **options)
        self.calibrations[_key(store.task)] = found
        return found

    def _check_store(self, store: TaskStore) -> None:
        if store.store.text_encoder is not self.text_encoder:
            check_identity(store.store.text_encoder, self.text_encoder.identity())

    def _predict_links(
        self,
        store: TaskStore,
        rows: Any,
        protocol: str,
        progress: Any = None,
        k: int | None = None,
        candidates: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        recommender = check_recommender(self.recommender, store)
        chosen = None
        if candidates is not None:
            assert isinstance(store.task, LinkTask)
            table, keys = store.task.destination_table, pd.Series(candidates)
            chosen = entity_rows(
                self._opened.database_of(store), table, keys, store.task.name
            )
        return predict_links(
            recommender,
            store,
            rows,
            protocol,
            k,
            chosen,
            progress=progress,
            **self.sampling,
        )

    def evaluate(
        self,
        db: Any,
        task: Any,
        split: str = 'test',
        protocol: str = 'rolling',
        horizon: Any = None,
        progress: Any = None,
        num_contexts: int = 1,
    ) -> dict[str, float]:
        r"""The metrics of the predictions for a split: RelBench's, and accuracy, log
        loss and macro F1 of classes. Of a multilabel task they are means over labels.
        """
        stores = self.open_tasks(db, task, horizon)
        for store in stores:
            store.task.labels_of_split(split)
        options = {'progress': progress, 'num_contexts': num_contexts}
        return mean_figures(
            [
                store.task.evaluate(
                    self.predict_rows(store, split, protocol, **options), split
                )
                for store in stores
            ]
        )

    def save_pretrained(self, folder: str | Path) -> None:
        r"""Writes the model, the identity of its text encoder, and its sampling."""
        self._save(prepare_folder(folder))

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path | None = None, text_encoder: Any = None
    ) -> 'RelationalPredictor':
        r"""Loads a predictor from the package, a folder or the Hugging Face Hub.

        The model in the package was pretrained on many databases, and predicts on
        others as it is (zero-shot). Its model card is :obj:`README.md` beside it.

        Args:
            name_or_path (str, optional): A run folder, or the id of a model on the
                Hub; the model in the package if not given. (default: :obj:`None`)
            text_encoder (TextEncoder or str, optional): The encoder that the
                model was trained with; by its name if not given.

        Raises:
            FileNotFoundError: If there is no such folder or model on the Hub.
            ValueError: If the text encoder is another one than in training.

        Example:
            >>> from torch_geometric_rfm.testing import toy_task_store
            >>> predictor = RelationalPredictor.from_pretrained()
            >>> store = toy_task_store()
            >>> predictor.predict_rows(store, 'test').shape == (len(
            ...     store.rows_of_split('test')), )
            True
        """
        folder = find_checkpoint(name_or_path)
        model, settings = load_checkpoint(folder)
        identity = settings['text_encoder']
        encoder = get_text_encoder(text_encoder or identity['name'])
        check_identity(encoder, identity)
        # What was saved before there were histories was trained without.
        sampling = {'history': 0.0, **settings['sampling']}
        predictor = cls(model, encoder, **sampling)
        predictor.training = settings['training']
        if settings.get('temperature') or settings.get('interval_shifts'):
            warnings.warn(
                f"'{folder}' was calibrated by an older version, which does not count "
                'here. Calibrate it again.',
                UserWarning,
                stacklevel=2,
            )
        for key, calibration in settings.get('calibrations', {}).items():
            predictor.calibrations[key] = Calibration(**calibration)
        if settings.get('recommender') is not None:
            predictor.recommender = load_recommender(
                folder, model, settings['recommender']
            )
        return predictor

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.model}, '
            f"text_encoder='{self.text_encoder.name}')"
        )


def _key(task: Task) -> str:
    # Tasks of several databases may share a name.
    return f'{task.name}: {task.target_col} of {task.entity_table}'
