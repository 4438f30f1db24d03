from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from torch_geometric_rfm.data import (
    CellStore,
    Task,
    TaskStore,
    TextEncoder,
    check_identity,
    get_text_encoder,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.sampler.context_policy import DEFAULT_OWN_LABELS
from torch_geometric_rfm.train.checkpoint import (
    load_checkpoint,
    prepare_folder,
    save_checkpoint,
)
from torch_geometric_rfm.train.ensemble import predict_ensemble
from torch_geometric_rfm.train.fit import FitResult, TrainConfig, fit

if TYPE_CHECKING:
    from relbench.base import Database

SAMPLING = {
    'num_cells': 128,
    'num_neighbors': 8,
    'temporal_strategy': 'last',
    'own_labels': DEFAULT_OWN_LABELS,
    'recent_labels': 0.0,
    'random_labels': 0.0,
    'strict': False,
}


@dataclass
class _Opened:
    dataset: Any
    db: 'Database'
    store: CellStore | None = None


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
                text_channels=self.text_encoder.channels
            )
        if model.text_channels != self.text_encoder.channels:
            raise ValueError(
                f'the model takes text embeddings of {model.text_channels} channels, '
                f"text encoder '{self.text_encoder.name}' gives "
                f'{self.text_encoder.channels}'
            )
        _check_text_encoder(model, self.text_encoder)
        self.model = model
        self.sampling = {**SAMPLING, **sampling}
        self.training: dict[str, Any] = {}
        self._opened: dict[Any, _Opened] = {}

    def open_task(self, db: Any, task: Any, horizon: Any = None) -> TaskStore:
        r"""The task of a database, ready to be sampled.

        The store of the database is built once and kept.

        Args:
            db (str, Path or relbench.base.Dataset): The database.
            task (str, relbench.base.BaseTask or Task): The task.
            horizon (str, optional): For external tasks, when labels become
                known. (default: :obj:`None`)
        """
        key = str(db) if isinstance(db, (str, Path)) else id(db)
        if key not in self._opened:
            dataset = load_dataset(db)
            self._opened[key] = _Opened(dataset, load_database(dataset))
        opened = self._opened[key]
        if isinstance(task, str):
            task = load_task(opened.dataset, task)
        if not isinstance(task, Task):
            task = Task.from_relbench(task, opened.db, horizon)
        if opened.store is None:
            cutoff = getattr(opened.dataset, 'val_timestamp', task.cutoffs.get('train'))
            data, col_stats = to_hetero(opened.db, cutoff=cutoff)
            opened.store = CellStore.from_hetero(
                data, col_stats, text_encoder=self.text_encoder, cutoff=cutoff
            )
        return opened.store.with_task(task)

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
                :obj:`metrics.csv`, :obj:`learning_curve.png` and
                :obj:`model.safetensors`. (default: :obj:`None`)
            horizon (str, optional): See :meth:`open_task`.
            show_progress (bool): Whether to draw a progress bar.
            **config: Fields of :class:`~torch_geometric_rfm.train.TrainConfig`.
        """
        names = task if isinstance(task, (list, tuple)) else [task]
        stores = [self.open_task(db, name, horizon) for name in names]
        return self.fit_stores(stores, out, show_progress, **config)

    def fit_stores(
        self,
        stores: list[TaskStore],
        out: str | Path | None = None,
        show_progress: bool = True,
        **config: Any,
    ) -> FitResult:
        r"""Trains on tasks already opened; see :meth:`fit`."""
        train_config = TrainConfig(**config)
        self.training = {'tasks': [s.task.name for s in stores], **vars(train_config)}
        folder = None if out is None else prepare_folder(out)
        save = None
        if folder is not None:

            def save(model: RelationalTransformer) -> None:
                save_checkpoint(folder, model, self._settings())

        result = fit(
            self.model,
            stores,
            train_config,
            folder,
            save,
            show_progress,
            **self.sampling,
        )
        if folder is not None:
            self._draw_curve(folder)
        return result

    def _settings(self) -> dict[str, Any]:
        return {
            'text_encoder': self.text_encoder.identity(),
            'sampling': self.sampling,
            'training': self.training,
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
            num_contexts (int): See :meth:`predict_rows`.

        Returns:
            A frame with the entity, the time and :obj:`prediction`: a number
            in its own unit, or the probability of true.
        """
        store = self.open_task(db, task, horizon)
        if (entities is None) != (time is None):
            raise ValueError('entities and time go together: give both or neither')
        if entities is not None:
            if split is not None:
                raise ValueError(f"give entities or a split (got split='{split}' too)")
            wider = store.task.with_rows(self._database(store), entities, time)
            store = store.store.with_task(wider)
            split = 'predict'
            keys = pd.Series(entities).to_numpy()
        else:
            split = split or 'test'
            keys = self._keys(store, split)
        frame = store.task.frame[store.split == split]
        return pd.DataFrame(
            {
                store.task.entity_col: keys,
                store.task.time_col: frame['time'].to_numpy(),
                'prediction': self.predict_rows(
                    store, split, protocol, progress, num_contexts
                ),
            }
        )

    def _database(self, store: TaskStore) -> 'Database':
        return next(o.db for o in self._opened.values() if o.store is store.store)

    def _keys(self, store: TaskStore, split: str) -> np.ndarray:
        entity = store.task.frame['entity'].to_numpy()[store.rows_of_split(split)]
        table = self._database(store).table_dict[store.task.entity_table]
        if table.pkey_col is None:
            return entity
        return table.df[table.pkey_col].to_numpy()[entity]

    def predict_rows(
        self,
        store: TaskStore,
        rows: Any,
        protocol: str = 'rolling',
        progress: Any = None,
        num_contexts: int = 1,
    ) -> np.ndarray:
        r"""Predictions for a split or rows of an opened task, in their order.

        Args:
            store (TaskStore): The task.
            rows (str or array): A split, or rows of the task table.
            protocol (str): See :meth:`predict`.
            progress (callable, optional): Wraps the batches.
            num_contexts (int): Contexts drawn for each row, whose predictions are
                averaged. They differ where something is drawn: with
                :obj:`random_labels`, or :obj:`temporal_strategy="uniform"`.

        Raises:
            ValueError: If the store was made with another text encoder.
        """
        if store.store.text_encoder is not self.text_encoder:
            check_identity(store.store.text_encoder, self.text_encoder.identity())
        return predict_ensemble(
            num_contexts,
            self.model,
            store,
            rows,
            protocol,
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
        r"""RelBench's metrics of the predictions for a split."""
        store = self.open_task(db, task, horizon)
        store.task.labels_of_split(split)
        prediction = self.predict_rows(store, split, protocol, progress, num_contexts)
        return store.task.evaluate(prediction, split)

    def save_pretrained(self, folder: str | Path) -> None:
        r"""Writes the model, the identity of its text encoder, and its sampling."""
        save_checkpoint(prepare_folder(folder), self.model, self._settings())

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, text_encoder: Any = None
    ) -> 'RelationalPredictor':
        r"""Loads a predictor from a folder or from the Hugging Face Hub.

        Args:
            name_or_path (str): A run folder, or the id of a model on the Hub.
            text_encoder (TextEncoder or str, optional): The encoder that the
                model was trained with; by its name if not given.

        Raises:
            ValueError: If the text encoder is another one than in training.
        """
        folder = Path(name_or_path)
        if not folder.exists():
            if len(folder.parts) != 2:
                raise FileNotFoundError(
                    f"no folder '{name_or_path}', and it is no Hub id 'org/model' "
                    f'either'
                )
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(str(name_or_path)))
        model, settings = load_checkpoint(folder)
        identity = settings['text_encoder']
        encoder = get_text_encoder(text_encoder or identity['name'])
        check_identity(encoder, identity)
        predictor = cls(model, encoder, **settings['sampling'])
        predictor.training = settings['training']
        return predictor

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.model}, '
            f"text_encoder='{self.text_encoder.name}')"
        )


def _check_text_encoder(model: RelationalTransformer, encoder: TextEncoder) -> None:
    # Of official checkpoints only the name of the text encoder is known.
    if model.text_encoder is None:
        return
    if encoder.name.rstrip('/').split('/')[-1] != model.text_encoder.split('/')[-1]:
        raise ValueError(
            f"the model was trained with the text encoder '{model.text_encoder}' (got "
            f"'{encoder.name}'). Use that one, or train a model of your own, made "
            'with text_encoder=None'
        )
