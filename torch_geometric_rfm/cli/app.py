from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from torch_geometric_rfm.cli.evaluation import (
    evaluate_tasks,
    print_evaluation,
    split_to_score,
)
from torch_geometric_rfm.cli.inspect import print_summary
from torch_geometric_rfm.cli.own_task import (
    DestinationTable,
    EntityTable,
    LabelFile,
    NumDestinations,
    SqlFile,
    own_task,
)

app = typer.Typer(
    name='pyg-rfm',
    help='Relational foundation models on databases.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Database = Annotated[
    str, typer.Argument(metavar='DB', help='RelBench folder or Hub id')
]
TaskName = Annotated[
    str,
    typer.Argument(
        metavar='TASK', help='a task of the database, or a name for your own'
    ),
]
Json = Annotated[
    Path | None, typer.Option('--json', help='also write the figures to this file')
]
Protocol = Annotated[
    str,
    typer.Option(
        help='rolling: each row sees up to its own time; frozen: to the cutoff'
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(help='a checkpoint; the pretrained model of the package if not given'),
]
NumContexts = Annotated[
    int,
    typer.Option(help='contexts of a row, to be averaged (with --random-labels)'),
]
RandomLabels = Annotated[
    float | None,
    typer.Option(help='share of the cells for random labels of others, as 0.1'),
]
Horizon = Annotated[
    str | None,
    typer.Option(help="when labels become known, counted from their time ('45 days')"),
]
Encoder = Annotated[
    str | None,
    typer.Option(help='text encoder: minilm, hashing, or a sentence-transformers name'),
]


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        Console(stderr=True).print(f'[bold red]Error:[/] {escape(str(error))}')
        raise typer.Exit(2) from error


def _bar(label: str) -> Callable[[Any], Any]:
    return lambda loader: track(loader, description=label, total=len(loader))


def _write_json(path: Path | None, content: Any) -> None:
    if path is not None:
        from torch_geometric_rfm.train.checkpoint import write_json

        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)


def _check_protocol(protocol: str) -> None:
    if protocol not in ('rolling', 'frozen'):
        raise ValueError(f"--protocol must be rolling or frozen (got '{protocol}')")


@app.command()
def inspect(db: Database, json: Json = None) -> None:
    r"""Show tables, keys, types, rows, time span and tasks of a database."""
    with _named_errors():
        from torch_geometric_rfm.data.summary import summarize_database

        with console.status(f'reading {db}'):
            summary = summarize_database(db)
        print_summary(summary, console)
        _write_json(json, summary)


@app.command()
def finetune(
    db: Database,
    task: TaskName,
    out: Annotated[Path, typer.Option(help='folder of the run')],
    from_scratch: Annotated[
        bool, typer.Option('--from-scratch', help='start from random weights')
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(help='start from this checkpoint, not that of the package'),
    ] = None,
    jointly: Annotated[
        list[str] | None,
        typer.Option('--with', help='train a further task jointly (repeatable)'),
    ] = None,
    minutes: Annotated[float, typer.Option(help='time to train')] = 5.0,
    seed: Annotated[int, typer.Option(help='of weights, batches and draws')] = 0,
    protocol: Protocol = 'rolling',
    num_cells: Annotated[
        int | None, typer.Option(help='cells of a context (128)')
    ] = None,
    own_labels: Annotated[
        float | None,
        typer.Option(help='share of the cells for past labels of the entity (0.3)'),
    ] = None,
    history: Annotated[
        float | None,
        typer.Option(help='share of the cells for summaries of the entity (0.3)'),
    ] = None,
    number_head: Annotated[
        str | None,
        typer.Option(help='head of numbers of a new model: value, quantile, bins'),
    ] = None,
    text_encoder: Encoder = None,
    horizon: Horizon = None,
    sql: SqlFile = None,
    labels: LabelFile = None,
    entity_table: EntityTable = None,
    destination_table: DestinationTable = None,
    k: NumDestinations = None,
    json: Json = None,
) -> None:
    r"""Train on a task, then score it on the test split beside the baselines.

    It starts from the pretrained model of the package, unless told otherwise. Where
    labels of test rows are missing, or all the same, val is scored, and it says so.
    """
    with _named_errors():
        from torch_geometric_rfm.predictor import RelationalPredictor
        from torch_geometric_rfm.train.checkpoint import check_folder

        _check_protocol(protocol)
        if from_scratch and model is not None:
            raise ValueError('say either --from-scratch or --model DIR')
        if number_head is not None and not from_scratch:
            raise ValueError(
                '--number-head is for --from-scratch: a checkpoint has its own'
            )
        check_folder(out)
        given = {'num_cells': num_cells, 'own_labels': own_labels, 'history': history}
        sampling: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        if from_scratch:
            predictor = RelationalPredictor(
                text_encoder=text_encoder,
                seed=seed,
                number_head=number_head or 'value',
                **sampling,
            )
        else:
            predictor = RelationalPredictor.from_pretrained(model, text_encoder)
            predictor.sampling.update(sampling)
        with console.status(f'reading {db}'):
            first = own_task(
                db, task, sql, labels, entity_table, horizon, destination_table, k
            )
            asked = predictor.open_tasks(db, first, horizon)
            others = [predictor.open_tasks(db, x, horizon) for x in jointly or []]
            stores = [store for tasks in [asked, *others] for store in tasks]
            split = split_to_score(asked, console)
        console.print(f'training {predictor.model} for {minutes:g} minutes into {out}')
        result = predictor.fit_stores(
            stores, out, minutes=minutes, seed=seed, protocol=protocol
        )
        if result.interrupted:
            console.print('interrupted: the best weights so far are kept')
        figures = evaluate_tasks(
            predictor, asked, db, split, protocol, _bar(f'{split} split')
        )
        figures |= {
            'seconds': round(result.seconds, 2),
            'contexts_per_second': round(result.contexts_per_second, 2),
            'steps': result.steps,
            'seed': seed,
            'val': result.metrics,
        }
        print_evaluation(figures, console)
        console.print(f'the model, metrics.csv and learning_curve.png are in {out}')
        _write_json(json, figures)


@app.command()
def pretrain(
    databases: Annotated[
        list[str],
        typer.Argument(
            metavar='DB...',
            help='RelBench folders, Hub ids, prepared folders, or synthetic:FIRST-LAST',
        ),
    ],
    out: Annotated[Path, typer.Option(help='folder of the run')],
    exclude: Annotated[
        list[str] | None,
        typer.Option(help='score this database and do not train on it (repeatable)'),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(help='train on this database without its labels (repeatable)'),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help='JSON file with fields of PretrainConfig')
    ] = None,
    minutes: Annotated[float | None, typer.Option(help='time to train')] = None,
    steps: Annotated[int | None, typer.Option(help='steps to train')] = None,
    init: Annotated[
        Path | None, typer.Option(help='start from this checkpoint')
    ] = None,
    resume: Annotated[
        bool, typer.Option('--resume', help='go on with the run in the folder')
    ] = False,
    skip_errors: Annotated[
        bool, typer.Option('--skip-errors', help='leave out databases that fail')
    ] = False,
    text_encoder: Encoder = 'hashing',
    seed: Annotated[int | None, typer.Option(help='of weights and draws')] = None,
    json: Json = None,
) -> None:
    r"""Train one model on the tasks of many databases."""
    with _named_errors():
        from torch_geometric_rfm.cli.pretrain import read_config, run_pretraining

        given = {
            'minutes': minutes,
            'num_steps': steps,
            'seed': seed,
            'unlabelled': unlabelled,
        }
        changes = {k: v for k, v in given.items() if v is not None}
        figures = run_pretraining(
            console,
            databases,
            out,
            read_config(config, changes),
            exclude=exclude or [],
            text_encoder=text_encoder,
            init=init,
            resume=resume,
            skip_errors=skip_errors,
        )
        _write_json(json, figures)


@app.command()
def predict(
    db: Database,
    task: TaskName,
    out: Annotated[
        Path, typer.Option(help='file for the predictions (.parquet, .csv)')
    ],
    model: Model = None,
    split: Annotated[str | None, typer.Option(help='a split of the task')] = None,
    entities: Annotated[
        Path | None,
        typer.Option(help='file with a column of primary keys (.parquet, .csv)'),
    ] = None,
    time: Annotated[str | None, typer.Option(help='when they are asked about')] = None,
    interval: Annotated[
        float | None,
        typer.Option(help='also the ends of intervals that hold this share, as 0.9'),
    ] = None,
    k: Annotated[
        int | None, typer.Option(help='how many rows a recommendation task recommends')
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(help='file with the primary keys that may be recommended'),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            '--calibrate',
            help='fit probabilities, intervals, or whole counts on val first',
        ),
    ] = False,
    num_contexts: NumContexts = 1,
    random_labels: RandomLabels = None,
    protocol: Protocol = 'rolling',
    text_encoder: Encoder = None,
    horizon: Horizon = None,
    sql: SqlFile = None,
    labels: LabelFile = None,
    entity_table: EntityTable = None,
    destination_table: DestinationTable = None,
) -> None:
    r"""Predict a split, or entities that have no label yet."""
    with _named_errors():
        from torch_geometric_rfm.predictor import RelationalPredictor

        _check_protocol(protocol)
        if (split is None) == (entities is None):
            raise ValueError('say either --split or --entities FILE --time T')
        if out.suffix not in ('.parquet', '.csv'):
            raise ValueError(f"--out must end in .parquet or .csv (got '{out}')")
        predictor = RelationalPredictor.from_pretrained(model, text_encoder)
        if random_labels is not None:
            predictor.sampling['random_labels'] = random_labels
        with console.status(f'reading {db}'):
            source = own_task(
                db, task, sql, labels, entity_table, horizon, destination_table
            )
            stores = predictor.open_tasks(db, source, horizon)
        keys = None
        if entities is not None:
            keys = _read_keys(entities, stores[0].task.entity_col)
        among = None
        if candidates is not None:
            among = _read_keys(candidates, _destination_col(stores[0].task))
        for store in stores if calibrate else []:
            bar = _bar('calibrating')
            fitted = predictor.calibrate_rows(store, 'val', protocol, bar)
            console.print(f'{store.task.name}: {fitted}, fitted on val')
        several = stores[0].task.multilabel is not None
        frame = predictor.predict(
            db,
            source if several else stores[0].task,
            split,
            protocol,
            keys,
            time,
            horizon,
            progress=_bar('predicting'),
            interval=interval,
            k=k,
            candidates=among,
            num_contexts=num_contexts,
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == '.csv':
            frame.to_csv(out, index=False)
        else:
            frame.to_parquet(out, index=False)
        console.print(frame.head(5).to_string(index=False))
        console.print(f'{len(frame):,} predictions are in {out}')


def _destination_col(task: Any) -> str:
    column = getattr(task, 'destination_col', None)
    if column is None:
        raise ValueError(
            f"--candidates is for recommendation tasks (got '{task.name}', which is "
            'none)'
        )
    return str(column)


def _read_keys(path: Path, entity_col: str) -> pd.Series:
    read = pd.read_csv if path.suffix == '.csv' else pd.read_parquet
    frame = read(path)
    if entity_col not in frame:
        raise ValueError(
            f"'{path}' has no column '{entity_col}' (columns are: "
            f'{", ".join(map(str, frame.columns))})'
        )
    return frame[entity_col]


@app.command()
def evaluate(
    db: Database,
    task: TaskName,
    model: Model = None,
    split: Annotated[str, typer.Option(help='the split to score')] = 'test',
    num_contexts: NumContexts = 1,
    random_labels: RandomLabels = None,
    protocol: Protocol = 'rolling',
    text_encoder: Encoder = None,
    horizon: Horizon = None,
    sql: SqlFile = None,
    labels: LabelFile = None,
    entity_table: EntityTable = None,
    destination_table: DestinationTable = None,
    k: NumDestinations = None,
    json: Json = None,
) -> None:
    r"""Score a model on a split beside the baselines on the same rows."""
    with _named_errors():
        from torch_geometric_rfm.predictor import RelationalPredictor

        _check_protocol(protocol)
        predictor = RelationalPredictor.from_pretrained(model, text_encoder)
        if random_labels is not None:
            predictor.sampling['random_labels'] = random_labels
        with console.status(f'reading {db}'):
            source = own_task(
                db, task, sql, labels, entity_table, horizon, destination_table, k
            )
            stores = predictor.open_tasks(db, source, horizon)
        bar = _bar(f'{split} split')
        figures = evaluate_tasks(
            predictor, stores, db, split, protocol, bar, num_contexts
        )
        print_evaluation(figures, console)
        _write_json(json, figures)


@app.command()
def audit(
    db: Database,
    task: TaskName,
    contexts: Annotated[int, typer.Option(help='contexts to draw')] = 1000,
    protocol: Protocol = 'rolling',
    horizon: Horizon = None,
    sql: SqlFile = None,
    labels: LabelFile = None,
    entity_table: EntityTable = None,
    text_encoder: Encoder = 'hashing',
    seed: Annotated[int, typer.Option(help='of the draw')] = 0,
    json: Json = None,
) -> None:
    r"""Check contexts against the raw tables by SQL; exit code 1 on any finding."""
    with _named_errors():
        from torch_geometric_rfm.audit import audit_task
        from torch_geometric_rfm.cli.audit import print_audit
        from torch_geometric_rfm.data.horizon import to_horizon

        _check_protocol(protocol)
        report = audit_task(
            db,
            own_task(db, task, sql, labels, entity_table, horizon),
            contexts,
            protocol,
            horizon=None if horizon is None else to_horizon(horizon),
            text_encoder=text_encoder,
            seed=seed,
            progress=_bar('drawing contexts'),
        )
        print_audit(report, console)
        _write_json(json, report.to_dict())
    if report.findings:
        raise typer.Exit(1)


if __name__ == '__main__':
    app()
