r"""Turns the figures of ``gpu.sh`` into one Markdown table."""

import json
import sys
from pathlib import Path

FORWARD_BACKWARD = 3  # Operations of a training step in those of its forward pass.


def flops(parameters_of_blocks: int, cells: float) -> float:
    r"""Operations of the projections and feed-forward networks of a training step,
    which are those that no mask saves.
    """
    return 2 * FORWARD_BACKWARD * parameters_of_blocks * cells


def main() -> None:
    folder = Path(sys.argv[1])
    attention = json.loads((folder / 'attention.json').read_text())
    model = json.loads((folder / 'model.json').read_text())
    print(f'{model["model"]} on {model["device"]}, {model["threads"]} CPU threads\n')
    print('| cells | masked attentions over dense, forward / with backward |', end='')
    print(' model over dense | training contexts/s | share of matmul peak |')
    print('| ---: | ---: | ---: | ---: | ---: |')
    sizes = {*attention['masked_over_dense'], *model['seconds']}
    for size in sorted(sizes, key=int):
        row = [size]
        masked = attention['masked_over_dense'].get(size)
        ratios = [] if masked is None else [f'{x:.2f}' for x in masked.values()]
        row.append(' / '.join(ratios))
        if size in model['seconds']:
            rate = model['training_contexts_per_second'][size]['ours']
            work = flops(model['block_parameters'], model['cells_a_context'][size])
            row.append(f'{model["model_over_dense"]["forward_backward"][size]:.2f}')
            row += [f'{rate:,.1f}', f'{rate * work / model["peak"]:.1%}']
        else:
            row += ['', '', '']
        print(f'| {" | ".join(row)} |')
    official = model['model_over_official']['forward']
    for size, ratio in official.items():
        print(f'\nForward over the official module at {size} cells: {ratio:.2f}')


if __name__ == '__main__':
    main()
