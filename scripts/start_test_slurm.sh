#!/usr/bin/env bash
# A real one-node Slurm for trying things out and for the tests: slurmctld, slurmd and munge of the Debian packages, in a
# folder of their own, without systemd, cgroups or a database. A second call finds it running and changes nothing.
#
#   eval "$(scripts/start_test_slurm.sh STATE_FOLDER)"     # exports SLURM_CONF
#   scripts/stop_test_slurm.sh STATE_FOLDER
#
#   apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
#
# SLURM_SLOTS=N offers N one-core slots, whatever the machine has. SLURM_GPUS=1 adds a made-up "a100" and a "v100", so
# that requests for GPU types can be tried; they are names only.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
[ $# = 1 ] || { echo "usage: $0 STATE_FOLDER" >&2; exit 2; }
for program in slurmctld slurmd munged sbatch squeue scontrol; do
    command -v "$program" >/dev/null || {
        echo "$0: $program is not installed: apt-get install slurmctld slurmd slurm-client munge" >&2
        exit 2
    }
done
state=$(realpath -m "$1")
slots=${SLURM_SLOTS:-$(nproc)}
host=$(hostname -s)
user=$(id -un)
memory=$(($(awk '/^MemTotal/{print $2}' /proc/meminfo) / 1024 - 512))

alive() { [ -s "$state/$1.pid" ] && kill -0 "$(cat "$state/$1.pid")" 2>/dev/null; }

free_port() { # the first of some that nobody listens on
    local port
    for port in $(seq $((20000 + RANDOM % 20000)) 45000); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

configure() {
    local gpus= types=
    if [ -n "${SLURM_GPUS:-}" ]; then
        # Slurm wants character devices; these are everywhere.
        printf 'Name=gpu Type=%s File=%s\n' a100 /dev/null v100 /dev/zero >"$state/gres.conf"
        types="GresTypes=gpu"
        gpus="Gres=gpu:a100:1,gpu:v100:1"
    fi
    cat >"$state/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# A requeued job is held for cred_expire + 1 seconds, 121 by default; 5 is the least that Slurm takes.
AuthInfo=socket=$state/munge.socket,cred_expire=5
SlurmctldPort=$1
SlurmdPort=$2
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
# A node that was set DOWN stays so until it is resumed: its old processes may still be ending.
ReturnToService=1
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
KillWait=5
JobRequeue=1
MaxArraySize=1001
$types
NodeName=$host NodeAddr=127.0.0.1 CPUs=$slots RealMemory=$memory $gpus State=UNKNOWN
# A job of \`urgent\` takes the place of those of \`debug\`, which have GraceTime seconds after SIGTERM, and go back.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=$host MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
CONF
}

mkdir -p "$state"/{controller,spool,log}
chmod 755 "$state"
if ! alive munged; then
    [ -s "$state/munge.key" ] || (umask 077 && dd if=/dev/urandom of="$state/munge.key" bs=128 count=1 status=none)
    munged --force --socket "$state/munge.socket" --key-file "$state/munge.key" --pid-file "$state/munged.pid" \
        --log-file "$state/log/munged.log" --seed-file "$state/munge.seed" 2>>"$state/log/munged.start.log"
fi
if ! alive slurmctld; then
    first=$(free_port)
    configure "$first" "$(free_port)"
fi
export SLURM_CONF="$state/slurm.conf"
alive slurmctld || slurmctld >>"$state/log/slurmctld.start.log" 2>&1
alive slurmd || slurmd -N "$host" >>"$state/log/slurmd.start.log" 2>&1
for _ in $(seq 200); do
    if sinfo -h -o %T 2>/dev/null | grep -Eq '^(idle|mixed|allocated)'; then
        echo "export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 0.1
done
echo "$0: the node does not come up; the last lines of $state/log:" >&2
tail -n 5 "$state"/log/*.log >&2
exit 1
