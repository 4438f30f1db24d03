r"""What the pretrained model reaches on rel-f1, as a table, from the benchmark's lines.

python benchmark/checkpoint/table.py --rst docs/pretrained_results.txt
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmark.relbench.inputs import PROTOCOLS
from benchmark.relbench.metrics import MAIN
from benchmark.relbench.results import read_lines
from benchmark.relbench.rst import markdown, to_rst
from benchmark.relbench.run import RESULTS

TASKS = ('driver-dnf', 'driver-top3', 'driver-position')
MODELS = {
    'relational-transformer-zero-shot': 'zero-shot',
    'relational-transformer-fine-tuned': 'fine-tuned',
    'relational-transformer': 'from scratch, chosen for the database',
    'entity-mean-train': 'entity mean, train labels',
    'entity-mean-known': 'entity mean, all labels known by then',
    'last-3-known': 'mean of the last 3 labels known by then',
    'smoothed-known': 'exponential smoothing of the labels known by then',
    'lightgbm-relational': 'LightGBM on automatic aggregates',
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--rst', type=Path)
    args = parser.parse_args()
    lines = [x for x in read_lines(args.results) if x['database'] == 'rel-f1']
    header = ['', 'minutes', *(f'{task}, {p}' for p in PROTOCOLS for task in TASKS)]
    table = []
    for model, name in MODELS.items():
        own = [line for line in lines if line['model'] == model]
        minutes = {f'{x["minutes"]:g}' for x in own if 'steps' in x['hyper_parameters']}
        cells = [name, ', '.join(sorted(minutes))]
        for protocol in PROTOCOLS:
            for task in TASKS:
                found = [
                    line['metrics']['test'][MAIN[line['kind']]]
                    for line in own
                    if (line['task'], line['protocol']) == (task, protocol)
                ]
                spread = f' ± {np.std(found, ddof=1):.3f}' if len(found) > 1 else ''
                cells.append(f'{np.mean(found):.3f}{spread}' if found else '')
        table.append(cells)
    text = '\n'.join(markdown(header, table)) + '\n'
    print(text)
    if args.rst is not None:
        args.rst.write_text(to_rst(text))


if __name__ == '__main__':
    main()
