r"""Pretrains on the events of patients by hiding some of their cells, and fine-tunes on
tasks with and without it.

    python examples/ehr_masked_pretraining.py path/to/mimic-demo

The folder holds a database in the layout of RelBench, here the records of intensive
care of the MIMIC-III demo. An event (an infusion, an output, a prescription) is seen at
its own time, with the patient's admission and stay, and the latest events of both, as
cells of their tables. Pretraining sees no event after the cutoff of the validation
split; what the tasks ask for is among its cells, but of train rows only.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from torch_geometric_rfm.data import (
    CellStore,
    Task,
    load_database,
    load_dataset,
    load_task,
    to_hetero,
)
from torch_geometric_rfm.loader import ContextLoader
from torch_geometric_rfm.loss import MaskedCellLoss
from torch_geometric_rfm.nn import RelationalTransformer
from torch_geometric_rfm.train import TrainConfig, fit, predict_rows
from torch_geometric_rfm.transforms import MaskCells

TASKS = ['prescriptions-route', 'outputs-value', 'inputs-rate']
EVENTS = ['inputs', 'outputs', 'prescriptions', 'procedure_events', 'transfers']


def event_batches(store, tables, cutoff, args):
    r"""Endless batches of contexts around events, of a table drawn each time."""
    transform = MaskCells('uniform')
    loaders, sizes = [], []
    for table in tables:
        number = store.table_names.index(table)
        time = store.arrays.row_time[slice(*store.arrays.table_start[number:][:2])]
        rows = np.flatnonzero(time <= int(cutoff.timestamp()))
        loader = ContextLoader(
            store,
            input_nodes=(table, rows),
            input_time=torch.from_numpy(time[rows]),
            num_cells=args.num_cells,
            batch_size=args.batch_size,
            shuffle=True,
            transform=transform,
        )
        loaders.append(loader)
        sizes.append(len(rows) ** 0.5)
    rng = np.random.default_rng(args.seed)
    batches = [iter(loader) for loader in loaders]
    while True:
        i = rng.choice(len(loaders), p=np.array(sizes) / sum(sizes))
        cells = next(batches[i], None)
        if cells is None:
            batches[i] = iter(loaders[i])
            cells = next(batches[i])
        yield cells


def pretrain(model, batches, num_steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, num_steps)
    loss_fn = MaskedCellLoss()
    losses = []
    for _, cells in zip(range(num_steps), batches):
        loss = loss_fn(model(cells, all_heads=True), cells)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    part = max(1, num_steps // 10)
    first, last = np.mean(losses[:part]), np.mean(losses[-part:])
    print(f'pretraining: loss {first:.3f} to {last:.3f} in {num_steps} steps')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('folder', type=Path, help='database in the layout of RelBench')
    parser.add_argument('--tasks', nargs='+', default=TASKS)
    parser.add_argument('--events', nargs='+', default=EVENTS, help='tables of events')
    parser.add_argument('--num_steps', type=int, default=2000, help='of pretraining')
    parser.add_argument('--fine_tune_steps', type=int, default=500)
    parser.add_argument('--num_cells', type=int, default=128)
    parser.add_argument('--batch_size', type=int, default=16)
    parser.add_argument('--max_rows', type=int, help='rows of a split that are scored')
    parser.add_argument('--text_encoder', default='hashing')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    dataset = load_dataset(args.folder)
    db = load_database(dataset)
    cutoff = dataset.val_timestamp
    data, stats = to_hetero(db, cutoff=cutoff)
    store = CellStore.from_hetero(
        data, stats, text_encoder=args.text_encoder, cutoff=cutoff
    )
    torch.manual_seed(args.seed)
    model = RelationalTransformer.small()
    scratch = {key: value.clone() for key, value in model.state_dict().items()}
    pretrain(model, event_batches(store, args.events, cutoff, args), args.num_steps)
    pretrained = {key: value.clone() for key, value in model.state_dict().items()}

    config = TrainConfig(
        minutes=None,
        num_steps=args.fine_tune_steps,
        batch_size=args.batch_size,
        max_val_rows=args.max_rows or 1000,
        seed=args.seed,
    )
    print(f'{"task":<22}{"pretraining":<13}{"metric":<10}{"val":>8}{"test":>8}')
    for name in args.tasks:
        task = store.with_task(Task.from_relbench(load_task(dataset, name), db))
        for label, state in (('none', scratch), ('masked', pretrained)):
            model.load_state_dict(state)
            fit(model, [task], config, show_progress=False, num_cells=args.num_cells)
            scores = []
            for split in ('val', 'test'):
                rows = task.rows_of_split(split)[: args.max_rows]
                out = predict_rows(model, task, rows, num_cells=args.num_cells)
                truth = task.task.frame['label'].to_numpy()[rows]
                metric, score = next(iter(task.task.score(truth, out).items()))
                scores.append(f'{score:>8.4f}')
            print(f'{name:<22}{label:<13}{metric:<10}{"".join(scores)}')


if __name__ == '__main__':
    main()
