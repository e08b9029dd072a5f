#!/usr/bin/env bash
# Stops what up.sh DIR started, by its pid files, and removes DIR.   down.sh DIR
set -euo pipefail
dir=$1
export SLURM_CONF=$dir/slurm.conf

# A pid file may outlive its daemon and the number may belong to another: the name must fit.
runs() { [ "$(ps -o comm= -p "$1" 2>/dev/null)" = "$2" ]; }

if runs "$(cat "$dir/slurmctld.pid" 2>/dev/null)" slurmctld; then
    timeout 5 squeue -h -o %A | xargs -r timeout 5 scancel || true
    for _ in $(seq 75); do
        if [ -z "$(timeout 2 squeue -h 2>/dev/null)" ]; then break; fi
        sleep 0.2
    done
fi
pids=()
for daemon in slurmd slurmctld munged; do
    pid=$(cat "$dir/$daemon.pid" 2>/dev/null) || continue
    if runs "$pid" "$daemon"; then kill "$pid" && pids+=("$pid:$daemon"); fi
done
for pair in "${pids[@]}"; do
    for _ in $(seq 50); do
        if ! runs "${pair%:*}" "${pair#*:}"; then continue 2; fi
        sleep 0.1
    done
    kill -KILL "${pair%:*}"
done
rm -rf -- "$dir"
