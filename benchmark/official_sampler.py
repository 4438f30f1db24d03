"""Measure the sampling engine of the PyPI package relational-transformer 1.10.0.

The engine is a compiled extension, ``rt.rustler``: one stable-ABI wheel for
CPython 3.10 and later, Linux x86-64, no CUDA. This script loads that extension
alone, without importing the ``rt`` package around it, so neither torch nor any
other heavy dependency is needed. The environment::

    python3 -m venv official
    official/bin/pip install --no-deps relational-transformer==1.10.0
    official/bin/pip install --only-binary :all: numpy ml-dtypes pyarrow
    official/bin/python official_sampler.py --db rel-f1 --task driver-dnf

It preprocesses a database with the package's own ``preprocess``, writes random
text embeddings in the place of the sentence encoder's (the sampler only copies
them), and times ``Sampler.batch_py``, the call behind its training data loader.
The batch it yields holds, per cell, the ids, the values and two rows of
``--text-width`` bfloat16 (column phrase and text); filling them is part of the
work of the engine and part of the time. ``--text-width 1`` leaves nearly only the
choice of the cells.

``--threads T`` forks T processes, each with its own stream, as the package does
with loader workers (``batch_py`` itself is serial and holds the interpreter lock),
without the transfer of the batches to a parent. ``--threads-by rayon`` draws with
``Sampler.batch_for_nodes_py`` instead, which spreads a batch over T threads.

Input is either ``--db FOLDER``, a database in the RelBench 3 layout, with
``--task NAME`` (a forecast task), or ``--tables FOLDER``, parquet tables with a
``tables.json`` beside them (another place: ``--schema FILE``)::

    {"tables": {"name": {"file": "x.parquet", "pkey": "id" or null,
                         "fkeys": {"column": "parent table"},
                         "time": "column" or null}},
     "task": {"file": "task.parquet", "entity_col": "...", "entity_table": "...",
              "time_col": "..." or null, "target_col": "..."}}

Keys need not be row numbers here (the engine wants that, so they are re-indexed);
a time column is a date, a timestamp, or an integer of unix seconds. The engine
takes at most 5 foreign keys a row and numbers, booleans, strings, dates and
timestamps as values.

Its released settings, for a run close to them: ``--num-cells 8192 --width 32
--local-cells 256 --walks 10000 --walk-length 20 --prefer-latest``.
"""

import argparse
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes  # noqa: F401  the extension asks numpy for bfloat16 by name
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

EMBEDDER = 'random'
TASK = 'task'


def load_engine():
    """The compiled extension, without the package around it."""
    spec = importlib.util.find_spec('rt')
    if spec is None:
        raise SystemExit('relational-transformer is not installed')
    for folder in spec.submodule_search_locations:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder) / f'rustler{suffix}'
            if path.exists():
                loader = importlib.machinery.ExtensionFileLoader(
                    'rt.rustler', str(path)
                )
                spec = importlib.util.spec_from_loader('rt.rustler', loader)
                engine = importlib.util.module_from_spec(spec)
                loader.exec_module(engine)
                return engine
    raise SystemExit('relational-transformer has no extension rt.rustler here')


def run_preprocess(source, target):
    """Body of the preprocessing process; the engine's messages go to stderr."""
    os.dup2(2, 1)
    load_engine().preprocess(str(source), str(target), source=str(source))


def preprocess(source, target):
    """Preprocess a RelBench 3 folder into a subfolder of target; that subfolder."""
    context = multiprocessing.get_context('spawn')
    process = context.Process(target=run_preprocess, args=(source, target))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f'preprocess failed with exit code {process.exitcode}')
    return find_preprocessed(target)


def find_preprocessed(target):
    """The one preprocessed database in a folder, or None."""
    found = sorted(path.parent for path in Path(target).glob('*/meta.json'))
    if len(found) > 1:
        raise SystemExit(f'{target} holds more than one preprocessed database')
    return found[0] if found else None


def write_embeddings(folder, width, seed):
    """Random bfloat16 embeddings of every string of a preprocessed database."""
    count = len(json.loads((folder / 'text.json').read_text()))
    path = folder / f'text_emb_{EMBEDDER}.bin'
    if path.exists() and path.stat().st_size == 2 * count * width:
        return count
    rng = np.random.default_rng(seed)
    with open(path, 'wb') as file:
        for start in range(0, count, 65536):
            shape = (min(65536, count - start), width)
            values = rng.standard_normal(shape, dtype=np.float32)
            (values.view(np.uint32) >> 16).astype(np.uint16).tofile(file)
    return count


def stage_relbench(source, task, target):
    """A copy of a RelBench 3 folder, by links, that has this task only."""
    target.mkdir(parents=True)
    shutil.copy(source / 'manifest.yaml', target / 'manifest.yaml')
    (target / 'db').symlink_to((source / 'db').resolve())
    (target / 'tasks').mkdir()
    (target / 'tasks' / task).symlink_to((source / 'tasks' / task).resolve())
    return target


def as_column(path, name):
    """One column of a parquet file as one array."""
    return pq.read_table(path, columns=[name]).column(name).combine_chunks()


def to_rows(values, parent):
    """Foreign keys as row numbers of the parent (null where there is none)."""
    keys, count = parent
    if keys is None:
        values = values.cast(pa.int64(), safe=False)
        inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, count))
        return pc.if_else(inside, values, pa.scalar(None, pa.int64()))
    return pc.index_in(values.cast(keys.type), keys).cast(pa.int64())


def stage_table(path, target, fkeys, time_col, parents):
    """Write one table with keys as row numbers and times as timestamps."""
    table = pq.read_table(path)
    for name, parent in fkeys.items():
        rows = to_rows(table.column(name).combine_chunks(), parents[parent])
        table = table.set_column(table.schema.get_field_index(name), name, rows)
    if time_col is not None and pa.types.is_integer(table.schema.field(time_col).type):
        times = table.column(time_col).cast(pa.int64()).cast(pa.timestamp('s'))
        place = table.schema.get_field_index(time_col)
        table = table.set_column(place, time_col, times.cast(pa.timestamp('ms')))
    pq.write_table(table, target)


def stage_tables(folder, schema, target):
    """A RelBench 3 folder made of a folder of tables and their schema."""
    (target / 'db').mkdir(parents=True)
    (target / 'tasks' / TASK).mkdir(parents=True)
    parents = {}
    for name, table in schema['tables'].items():
        path = folder / table['file']
        count = pq.read_metadata(path).num_rows
        keys = None
        if table.get('pkey') is not None:
            keys = as_column(path, table['pkey'])
            numbers = keys.null_count == 0 and pa.types.is_integer(keys.type)
            if numbers and np.array_equal(keys.to_numpy(), np.arange(count)):
                keys = None
        parents[name] = keys, count
    manifest = {'name': 'tables', 'tables': {}}
    for name, table in schema['tables'].items():
        fkeys = table.get('fkeys') or {}
        manifest['tables'][name] = {
            'pkey': table.get('pkey'),
            'fkeys': fkeys,
            'time_col': table.get('time'),
        }
        path = target / 'db' / f'{name}.parquet'
        stage_table(folder / table['file'], path, fkeys, table.get('time'), parents)
    task = schema['task']
    path = target / 'tasks' / TASK
    fkeys = {task['entity_col']: task['entity_table']}
    source = folder / task['file']
    stage_table(source, path / 'train.parquet', fkeys, task.get('time_col'), parents)
    names = ('entity_col', 'entity_table', 'time_col', 'target_col')
    header = {name: task.get(name) for name in names}
    header |= {'kind': 'forecast', 'task_type': 'regression'}
    # JSON is YAML.
    (path / 'manifest.yaml').write_text(json.dumps(header))
    (target / 'manifest.yaml').write_text(json.dumps(manifest))
    return target


def prepare(args, folder):
    """Preprocess what was asked for; the preprocessed database and the task."""
    task = TASK if args.tables else args.task
    if args.tables:
        schema = json.loads((args.schema or args.tables / 'tables.json').read_text())
    pre = Path(args.pre or folder / 'pre')
    pre.mkdir(parents=True, exist_ok=True)
    done = find_preprocessed(pre)
    seconds = None
    if done is None:
        if args.tables:
            source = stage_tables(args.tables, schema, folder / 'staged')
        elif args.only_task:
            source = stage_relbench(args.db, task, folder / 'staged')
        else:
            source = args.db
        start = time.perf_counter()
        done = preprocess(source, pre)
        seconds = time.perf_counter() - start
    return done, task, seconds


def make_sampler(engine, args, folder, task):
    """The engine's sampler of one task, and what the database holds."""
    meta = json.loads((folder / 'meta.json').read_text())
    tasks = {entry['name']: entry for entry in meta['tasks']}
    if task not in tasks or tasks[task].get('kind') == 'autocomplete':
        raise SystemExit(f'{task} is no forecast task of {sorted(tasks)}')
    info = json.loads((folder / 'table_info.json').read_text())
    info = info[f'{task}:{args.split.capitalize()}']
    columns = json.loads((folder / 'column_index.json').read_text())
    target = columns[f'{tasks[task]["target_col"]} of {task}']
    first, count = info['node_idx_offset'], info['num_nodes']
    sampler = engine.Sampler(
        dataset_tuples=[(folder.name, task, first, count)],
        global_rank=0,
        local_rank=0,
        world_size=1,
        local_ctx_size_list=[args.local_cells],
        bfs_width_list=[args.width],
        num_walks=args.walks,
        walk_length=args.walk_length,
        prefer_latest_list=[args.prefer_latest],
        mask_prob_max=0.0,
        embedder=EMBEDDER,
        pre_dir=str(folder.parent),
        d_text=args.text_width,
        shuffle_seed=args.seed,
        context_seed=args.seed,
        target_columns=[target],
        columns_to_drop=[[]],
        cutoff_timestamps=[None],
        items_per_task=-1,
        quiet=True,
        ignore_data_errors=False,
        num_prev_skipped=0,
        mmap_populate=True,
        legacy_boolean=False,
        timeout_per_item=600.0,
        vector_db_path=None,
    )
    return sampler, (first, count), meta['num_nodes']


def make_draw(sampler, args, seeds, worker, workers):
    """A function that draws one batch as a dictionary of flat arrays."""
    size, cells = args.batch_size, args.num_cells
    if args.threads_by == 'rayon':
        rng = np.random.default_rng(args.seed)
        first, count = seeds

        def draw():
            nodes = (first + rng.integers(count, size=size)).tolist()
            return dict(sampler.batch_for_nodes_py(nodes, 0, cells))

        return draw
    sampler.set_step_py(worker)
    sampler.set_stride_py(workers)
    return lambda: dict(sampler.batch_py(None, size, cells))


def measure(sampler, args, seeds, worker=0, workers=1, barrier=None):
    """Draw batches for the time or the number asked for, after a warm-up."""
    draw = make_draw(sampler, args, seeds, worker, workers)
    for _ in range(args.warmup):
        batch = draw()
    nodes = batch['node_idxs'].reshape(args.batch_size, args.num_cells)
    visible = ~batch['is_padding'].reshape(nodes.shape)
    rows = [np.unique(n[v]).size for n, v in zip(nodes, visible, strict=True)]
    del batch
    wanted = -(-args.contexts // (workers * args.batch_size))
    if barrier is not None:
        barrier.wait()
    cells, slices = 0, []
    cpu = time.process_time()
    last = start = time.perf_counter()
    while len(slices) < wanted and last - start < args.seconds:
        batch = draw()
        cells += int(np.count_nonzero(~batch['is_padding']))
        del batch
        now = time.perf_counter()
        slices.append(now - last)
        last = now
    return {
        'contexts': len(slices) * args.batch_size,
        'cells': cells,
        'seconds': last - start,
        'cpu_seconds': time.process_time() - cpu,
        'median': float(np.median(slices)),
        'rows': float(np.mean(rows)),
    }


def measure_all(sampler, args, seeds):
    """The measurement in this process, or in as many forks as threads."""
    if args.threads == 1 or args.threads_by == 'rayon':
        return [measure(sampler, args, seeds)]
    context = multiprocessing.get_context('fork')
    barrier = context.Barrier(args.threads)
    queue = context.Queue()

    def work(worker):
        result = measure(sampler, args, seeds, worker, args.threads, barrier)
        queue.put(result)

    workers = [context.Process(target=work, args=(i,)) for i in range(args.threads)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=args.seconds + 600) for _ in workers]
    for worker in workers:
        worker.join()
    return results


def summarize(results, args):
    """The figures of one or several workers as one dictionary."""
    contexts = sum(result['contexts'] for result in results)
    return {
        'contexts_per_second': contexts / max(r['seconds'] for r in results),
        'contexts_per_second_median_batch': sum(
            args.batch_size / result['median'] for result in results
        ),
        'contexts_per_cpu_second': contexts / sum(r['cpu_seconds'] for r in results),
        'contexts': contexts,
        'cells_per_context': sum(r['cells'] for r in results) / contexts,
        'rows_per_context': float(np.mean([r['rows'] for r in results])),
    }


def parse(argv=None):
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--db', type=Path, help='a RelBench 3 folder')
    source.add_argument('--tables', type=Path, help='a folder of parquet tables')
    add = parser.add_argument
    add('--schema', type=Path, help='default: tables.json in the folder')
    add('--task', default='driver-dnf', help='with --db')
    add('--split', default='train', choices=('train', 'val', 'test'))
    add('--only-task', action='store_true', help='leave other tasks out of the graph')
    add('--pre', help='folder to keep the preprocessed database in, and to reuse')
    add('--num-cells', type=int, default=1024)
    add('--width', type=int, default=128, help='children of a visited row, at most')
    add('--local-cells', type=int, help='cells of one local search; default: all')
    add('--walks', type=int, default=0, help='random walks; 10000 in its recipes')
    add('--walk-length', type=int, default=20)
    add('--prefer-latest', action='store_true', help='later same-table rows first')
    add('--text-width', type=int, default=384)
    add('--batch-size', type=int, default=32)
    add('--contexts', type=int, default=2048, help='stop after these, or ...')
    add('--seconds', type=float, default=30.0, help='... after these')
    add('--warmup', type=int, default=2, help='batches before the clock starts')
    add('--threads', type=int, default=1)
    add('--threads-by', default='process', choices=('process', 'rayon'))
    add('--seed', type=int, default=0)
    add('--json', type=Path, help='write the result here too')
    args = parser.parse_args(argv)
    if args.local_cells is None:
        args.local_cells = args.num_cells
    if min(args.warmup, args.contexts, args.threads, args.batch_size) < 1:
        parser.error('counts must be at least 1')
    if args.seconds <= 0:
        parser.error('--seconds must be above 0')
    if args.tables:
        args.split = 'train'
    return args


def main(argv=None):
    """Prepare, measure and report."""
    args = parse(argv)
    os.environ['RAYON_NUM_THREADS'] = str(args.threads)
    os.environ['POLARS_MAX_THREADS'] = str(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        pre, task, seconds = prepare(args, Path(folder))
        strings = write_embeddings(pre, args.text_width, args.seed)
        sampler, seeds, nodes = make_sampler(load_engine(), args, pre, task)
        result = summarize(measure_all(sampler, args, seeds), args)
    names = ('num_cells', 'width', 'local_cells', 'walks', 'walk_length')
    names += ('prefer_latest', 'text_width', 'batch_size', 'warmup', 'threads')
    names += ('threads_by', 'split', 'only_task', 'seed')
    result['settings'] = {name: getattr(args, name) for name in names}
    result['settings']['task'] = task
    result['graph'] = {'rows': nodes, 'strings': strings, 'seeds': seeds[1]}
    result['preprocess_seconds'] = seconds
    result['version'] = importlib.metadata.version('relational-transformer')
    result['python'] = platform.python_version()
    text = json.dumps(result, indent=2)
    if args.json:
        args.json.write_text(text + '\n')
    print(text)


if __name__ == '__main__':
    sys.exit(main())
