#!/usr/bin/env bash
# Times attention and whole models on a CUDA machine, and writes one Markdown table.
#
#     bash benchmark/gpu.sh OUT [PYTHON of the official module's environment]
#
# DEVICE=cpu QUICK=1 runs the same commands in small on a CPU.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
official=${2:-}
python=${PYTHON:-python}
device=${DEVICE:-cuda}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

quick=${QUICK:+--quick}
sizes=(--sizes 256 512 1024 2048 4096 8192 --cells 65536 --layers 2)
models=(--cells 256 1024 4096 --batch-size 32)
[ -n "$quick" ] && sizes=() && models=(--batch-size 2)

"$python" benchmark/attention.py --device "$device" $quick "${sizes[@]}" \
  --json "$out/attention.json" --plot "$out/attention.png"
"$python" benchmark/model.py --device "$device" $quick "${models[@]}" \
  ${official:+--official "$official"} --json "$out/model.json" --plot "$out/model.png"
"$python" benchmark/gpu_report.py "$out" | tee "$out/gpu.md"
