"""Run the models of the PyPI package relational-transformer 1.10.0.

This script knows nothing of the package around it: it reads weights and a batch
from a safetensors file and writes what the official module makes of them. The
environment::

    python3 -m venv official
    official/bin/pip install --only-binary :all: torch==2.13.0 numpy pandas pyarrow \\
        einops ml-dtypes orjson pyyaml safetensors 'huggingface_hub<2'
    official/bin/pip install --no-deps relational-transformer==1.10.0
    official/bin/python official_model.py input.safetensors output.safetensors

The input holds ``weights.KEY`` for every key of the official state dict and
``batch.KEY`` for every tensor of its batch; its metadata holds ``model`` (``rt_j``
or ``rt_v1``), ``num_heads``, ``rms_eps`` and, for RT-J, ``loss_fn``. The output
holds ``loss`` and, for each semantic type, its outputs in the order of the input
(RT-J sorts the cells of a context by column).

With ``--serve`` it then runs the model once for every line on the standard input,
and prints the seconds. Only forward: FlexAttention has no backward on a CPU.
FlexAttention is compiled, as the package has it, which takes a C++ compiler;
``--eager`` does without, at a great cost in time and memory.
"""

import argparse
import os
import sys
import time

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument('input')
parser.add_argument('output')
parser.add_argument('--eager', action='store_true')
parser.add_argument('--serve', action='store_true')
parser.add_argument('--device', default='cpu')
args = parser.parse_args()
if args.eager:  # torch reads it at import.
    os.environ['TORCHDYNAMO_DISABLE'] = '1'

import torch  # noqa: E402
from rt.model import RelationalTransformer  # noqa: E402
from rt.model.legacy import V1Transformer  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def read(path):
    """Weights, batch and metadata of the input."""
    with safe_open(path, 'pt') as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    groups = {'weights': {}, 'batch': {}}
    for key, value in tensors.items():
        group, name = key.split('.', 1)
        groups[group][name] = value
    return groups['weights'], groups['batch'], metadata


def build(weights, metadata):
    """The official module with the given weights."""
    sizes = {
        'num_blocks': len({k.split('.')[1] for k in weights if k[:7] == 'blocks.'}),
        'd_model': weights['enc_dict.text.weight'].size(0),
        'd_text': weights['enc_dict.text.weight'].size(1),
        'num_heads': int(metadata['num_heads']),
        'd_ff': weights['blocks.0.ffn.w1.weight'].size(0),
    }
    if metadata['model'] == 'rt_v1':
        model = V1Transformer(**sizes)
    else:
        model = RelationalTransformer(
            **sizes,
            compile=False,
            materialize_attn_masks=True,
            loss_fn=metadata['loss_fn'],
        )
    for module in model.modules():
        if hasattr(module, 'eps'):
            module.eps = float(metadata['rms_eps'])
    model.load_state_dict(weights)
    return model.eval()


@torch.no_grad()
def run(model, batch, name):
    """One forward."""
    if name == 'rt_v1':
        return model(batch)
    return model(batch, return_embeddings=False)[:2]


def main():
    """Run the model, and again for every line of the input."""
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', '1')))
    weights, batch, metadata = read(args.input)
    name = metadata['model']
    model = build(weights, metadata).to(args.device)
    batch = {key: value.to(args.device) for key, value in batch.items()}
    loss, outputs = run(model, batch, name)
    if name == 'rt_j':
        column = batch['col_name_idxs'].masked_fill(batch['is_padding'], 2**62)
        order = column.argsort(dim=1, stable=True).unsqueeze(-1)
        outputs = {
            key: torch.empty_like(value).scatter_(1, order.expand_as(value), value)
            for key, value in outputs.items()
        }
    outputs = {'loss': loss.view(1), **outputs}
    save_file(
        {key: value.cpu().contiguous() for key, value in outputs.items()}, args.output
    )
    if args.serve:
        print('ready', flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            run(model, batch, name)
            if args.device != 'cpu':
                torch.cuda.synchronize()
            print(time.perf_counter() - start, flush=True)


if __name__ == '__main__':
    sys.exit(main())
