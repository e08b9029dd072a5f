#!/usr/bin/env bash
# One-node SLURM with two pretend GPUs, for tests: starts munged, slurmctld and slurmd, writes DIR/slurm.conf.
#   up.sh DIR PORT     needs root; DIR is a short path nobody else uses, PORT and the next one are free
set -euo pipefail
dir=$1 port=$2 host=$(hostname -s)
export SLURM_CONF=$dir/slurm.conf
mkdir -p "$dir"/{state,spool,dev}
chmod 755 "$dir" "$dir"/*/

# slurmd takes a file's last number for the CUDA index; a twin of /dev/null is a device as good as any.
for gpu in 0 1; do mknod -m 666 "$dir/dev/gpu$gpu" c 1 3; done
echo "Name=gpu File=$dir/dev/gpu[0-1] Flags=nvidia_gpu_env" >"$dir/gres.conf"
echo "CgroupAutomount=no" >"$dir/cgroup.conf"

# A process that calls setsid leaves its process group: only a cgroup can end a whole job. Without one, pgid is the next best.
track=pgid
if [ -w /sys/fs/cgroup/freezer/cgroup.procs ]; then track=cgroup; fi
# Where the host's own name is a loopback address, slurmctld must not listen for the outside.
loopback=
case $(getent hosts "$host") in 127.*) loopback=CommunicationParameters=NoCtldInAddrAny ;; esac

cat >"$SLURM_CONF" <<CONF
ClusterName=ragbench
SlurmUser=root
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
AuthInfo=socket=$dir/munge.sock,cred_expire=5
$loopback
# Job ids also name cgroups of this machine, so two clusters on it should not both begin at 1.
FirstJobId=$((RANDOM + 1000))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/$track
TaskPlugin=task/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
NodeName=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=8 RealMemory=1024 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES
CONF

(umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
munged --key-file="$dir/munge.key" --socket="$dir/munge.sock" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munged.seed"
slurmctld -c
slurmd

for _ in $(seq 150); do
    if timeout 2 sinfo -h -o %t 2>/dev/null | grep -qx idle; then exit; fi
    sleep 0.2
done
echo "up.sh: the node was not idle after 30 s; its logs are in $dir" >&2
exit 1
