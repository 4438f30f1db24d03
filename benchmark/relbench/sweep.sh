#!/usr/bin/env bash
# Runs what is missing of the benchmark: rel-f1 with three seeds; a binary and a
# regression task of each of four more databases, a recommendation and two multiclass
# tasks with two. It may be stopped and begun again. Arguments go to run.py.
#
#   DATA=../shared/data benchmark/relbench/sweep.sh --model all --minutes 10
set -u
cd "$(dirname "$0")/../.." || exit 2
DATA=${DATA:-../shared/data}
PYTHON=${PYTHON:-python}
failed=0

tasks() {
  local db=$1 seeds=$2
  shift 2
  local names=()
  while [ "$1" != -- ]; do
    names+=("$1")
    shift
  done
  shift
  # shellcheck disable=SC2086
  "$PYTHON" benchmark/relbench/run.py --db "$db" --task "${names[@]}" \
    --seeds $seeds "$@" || failed=1
}

[ $# -gt 0 ] || set -- --model all
tasks examples/data/rel-f1 '0 1 2' driver-dnf driver-top3 driver-position -- "$@"
tasks "$DATA/un-votes" '0 1' country-casts-no country-us-agreement -- "$@"
tasks "$DATA/quantum-stackexchange" '0 1' user-engagement post-upvotes -- "$@"
tasks "$DATA/ipl-cricket" '0 1' bowler-wickets batsman-runs -- "$@"
tasks "$DATA/atp-tennis" '0 1' player-semifinal player-win-rate -- "$@"
tasks examples/data/rel-f1 '0 1' driver-circuit-compete -- "$@"
tasks "$DATA/un-votes" '0 1' votes-vote -- "$@"
tasks "$DATA/mimic-demo" '0 1' prescriptions-route -- "$@"
exit $failed
