#!/usr/bin/env bash
# A study by a real Slurm on this machine, one task of it killed in the middle, is the study that one process does:
# its findings and every spectrum, byte for byte but for seconds and the machine.
#
#   cluster/test.sh PATH/TO/kappa
#
# Needs slurmctld, slurmd, slurm-client and munge (Debian's), and root.
set -euo pipefail
kappa=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
chmod 755 "$work"
mkdir "$work/state" "$work/spool" "$work/log"

cat >"$work/slurm.conf" <<CONF
ClusterName=kappa
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/log/slurmctld
SlurmdLogFile=$work/log/slurmd
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
MinJobAge=300
KillWait=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$work/slurm.conf"

stop() {
    for daemon in slurmctld slurmd munged; do
        [ ! -f "$work/$daemon.pid" ] || kill "$(cat "$work/$daemon.pid")" 2>/dev/null || true
    done
    # The daemons write until they have ended.
    sleep 1
    rm -rf "$work"
}
trap stop EXIT

head -c 1024 /dev/urandom >"$work/munge.key"
chmod 400 "$work/munge.key"
munged --force --key-file="$work/munge.key" --socket="$work/munge.socket" --pid-file="$work/munged.pid" \
    --log-file="$work/log/munged" --seed-file="$work/munge.seed" --num-threads=1 2>/dev/null
slurmctld
slurmd

fail() {
    echo "$1"
    tail -n 20 "$work"/log/* "$work"/*.out 2>/dev/null || true
    exit 1
}

# Waits until a command succeeds, a minute at the most.
until_true() {
    for _ in $(seq 600); do
        if eval "$1" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "in vain: $1"
}
until_true '[ "$(sinfo --noheader --format=%T)" = idle ]'

# Small, but for one run that takes some seconds, so that it can be killed.
study=("$here/../configs/paper.toml" --backend flex --quiet --set name=small --set seeds=2
    --set recipe.training.epochs=3 --set recipe.data.train=2000 --set recipe.data.validation=100
    --set recipe.data.test=100 --set recipe.network.hidden=20 --set 'sweep.widths=[10,20]'
    --set 'sweep.learning_rates=[0.001]' --set 'sweep.l2=[]' --set 'grid.learning_rates=[0.001,0.01]'
    --set 'grid.l2=[0.0]' --set 'whole.epochs=[0,3]' --set whole.samples=500)

cd "$work"
submitted=$(KAPPA="$kappa" TASKS=3 SBATCH_OPTIONS="--ntasks=1 --output=$work/%x-%a.out" \
    "$here/slurm.sh" "${study[@]}" --out "$work/slurm")
echo "$submitted"
runs=$(sed -n 's/.* runs \([0-9]*\),.*/\1/p' <<<"$submitted")
report=$(sed -n 's/.* report \([0-9]*\)$/\1/p' <<<"$submitted")

# A task of the runs is killed as soon as it has begun a run, and requeued.
begun="$work/slurm/small/runs/fc-bn_*/run.json"
until_true "ls $begun"
scontrol requeue "${runs}_1" || fail "task 1 could not be requeued: it was done already"
until_true "squeue --noheader --states=all --jobs=${runs}_1 --format=%r | grep -q -v None || squeue --noheader --jobs=${runs}_1"
for _ in $(seq 3000); do
    state=$(scontrol show job "$report" | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p')
    case "$state" in
        COMPLETED) break ;;
        FAILED | CANCELLED | TIMEOUT | NODE_FAIL) fail "the report's job is $state" ;;
    esac
    sleep 0.1
done
[ "$state" = COMPLETED ] || fail "the study does not end"
restarts=$(scontrol show job "${runs}_1" | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p')
[ "$restarts" = 1 ] || fail "task 1 was to be restarted once: $restarts"

"$kappa" study "${study[@]}" --out "$work/alone" >"$work/alone.out"
python3 "$here/compare.py" "$work/slurm/small" "$work/alone/small"
"$kappa" verify "$work/slurm/small" --backend flex --no-spectrum >"$work/verify.out" || fail "it does not verify"
