#!/usr/bin/env bash
# Ends what start_test_slurm.sh began in a folder, by the process ids that it left there; jobs that run are cancelled.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 STATE_FOLDER" >&2; exit 2; }
state=$(realpath -m "$1")
alive() { [ -s "$state/$1.pid" ] && kill -0 "$(cat "$state/$1.pid")" 2>/dev/null; }
if alive slurmctld && alive slurmd; then
    export SLURM_CONF="$state/slurm.conf"
    scancel --quiet --user="$(id -un)" || true
    for _ in $(seq 100); do
        [ -z "$(squeue -h 2>/dev/null)" ] && break
        sleep 0.1
    done
fi
for daemon in slurmd slurmctld munged; do
    alive "$daemon" || continue
    process=$(cat "$state/$daemon.pid")
    kill "$process"
    for _ in $(seq 100); do
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    rm -f "$state/$daemon.pid"
done
