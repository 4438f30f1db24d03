#!/usr/bin/env bash
# Pretrains on a CUDA machine from databases that were packed beforehand.
#
#     python benchmark/carry.py pack carry/databases.zip DB...      # here, once
#     bash benchmark/pretrain_gpu.sh carry/databases.zip OUT        # there
#     python benchmark/carry.py join OUT runs/gpu                   # here again
#
# MINUTES is the budget of the whole run, SECONDS_NOW what this call may take; the next
# call with the same RUN goes on where it stopped. EXCLUDE names databases to be watched
# and not trained on. CONFIG is a file with fields of PretrainConfig; by default the
# shape of RT v1 (22 M) at 1,024 cells in bfloat16, compiled. Needs neither RelBench nor
# the databases. CONFIG=tiny.json DEVICE=cpu runs the same in small on a CPU.
set -euo pipefail
cd "$(dirname "$0")/.."
packed=$1
out=$2
python=${PYTHON:-python}
run=${RUN:-runs/pretrain_gpu}
minutes=${MINUTES:-25}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1
mkdir -p "$out" "$run.databases"

config=${CONFIG:-}
if [ -z "$config" ]; then
  config=$run.json
  cat > "$config" <<JSON
{"model": {"channels": 256, "num_layers": 12, "heads": 8, "ff_channels": 1024},
 "num_cells": [256, 512, 1024], "batch_size": 64, "group_size": 4, "lr": 1e-3,
 "ema": 0.999, "num_workers": 8, "precision": "bf16-mixed", "compile": true,
 "num_evals": 6, "max_val_rows": 200, "save_every": 500, "save_minutes": 2}
JSON
fi
if [ -n "${DEVICE:-}" ]; then
  "$python" - "$config" "$run.json" "$DEVICE" <<'PYTHON'
import json, sys
content = json.load(open(sys.argv[1])) | {'accelerator': sys.argv[3]}
json.dump(content, open(sys.argv[2], 'w'))
PYTHON
  config=$run.json
fi

[ -n "$(ls -A "$run.databases")" ] ||
  "$python" benchmark/carry.py unpack "$packed" "$run.databases"
exclude=()
for name in ${EXCLUDE:-}; do exclude+=(--exclude "$name"); done

# An interrupt makes it save, so that the next call goes on from there.
status=0
timeout -s INT -k 120 "${SECONDS_NOW:-480}" \
  "$python" -m torch_geometric_rfm.cli.app pretrain "$run.databases"/* \
  --out "$run" --config "$config" --minutes "$minutes" --resume \
  "${exclude[@]}" --json "$out/figures.json" 2>&1 | tee "$out/log.txt" || status=$?
"$python" benchmark/carry.py split "$run" "$out"
ls -l "$out"
# 124: it was stopped in time, and may go on.
[ "$status" = 0 ] || [ "$status" = 124 ]
