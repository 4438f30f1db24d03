#!/usr/bin/env bash
# Every gate in turn, all of them even if one fails; pytest comes last.
# Usage: BIN=.venv/bin test/run_gates.sh
set -u
cd "$(dirname "$0")/.." || exit 2
BIN=${BIN:-.venv/bin}
failed=()

gate() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
}

# numba notices an edit of a compiled function, but not of one that it calls.
newest=$(ls -t torch_geometric_rfm/data/*.py torch_geometric_rfm/sampler/*.py | head -n 1)
find torch_geometric_rfm -name '*.nb[ic]' ! -newer "$newest" -delete

gate 'ruff check' "$BIN/ruff" check .
gate 'ruff format' "$BIN/ruff" format --check .
gate 'mypy' "$BIN/mypy"
gate 'import-linter' "$BIN/lint-imports" --no-logo
gate 'codespell' "$BIN/codespell"
gate 'docs' "$BIN/python" -m sphinx -q -W --keep-going -b html docs docs/_build/html
# A process a core, and a thread each.
OMP_NUM_THREADS=1 gate 'pytest (tests and docstrings)' "$BIN/python" -m pytest -q -n auto

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nFailed:'
  printf ' [%s]' "${failed[@]}"
  printf '\n'
  exit 1
fi
