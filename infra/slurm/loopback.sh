#!/usr/bin/env bash
# A Slurm of two nodes on this machine's loopback, to try the job files without a cluster.
#
#   apt-get install slurm-wlm munge
#   infra/slurm/loopback.sh start FOLDER && export SLURM_CONF=FOLDER/slurm.conf
#   infra/slurm/loopback.sh stop FOLDER
#
# Needs root, for munge and for starting jobs; FOLDER keeps state and logs. FIRST_PORT, default
# 26817, is the first of three ports.
set -euo pipefail

(($# == 2)) || { echo "usage: infra/slurm/loopback.sh start|stop FOLDER" >&2; exit 2; }
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export SLURM_CONF=$folder/slurm.conf
host=$(hostname -s)
port=${FIRST_PORT:-26817}

stop() {
  local file
  for file in "$folder"/*.pid; do
    [[ -e "$file" ]] && kill -TERM "$(cat "$file")" 2>/dev/null || true
  done
}

if [[ "$1" == stop ]]; then
  stop
  exit 0
fi

# The key and the folders of munge are the package's; Docker images come without the service.
install -d -o munge -g munge /run/munge /var/log/munge /var/lib/munge
if ! munge -n >/dev/null 2>&1; then
  [[ -f /etc/munge/munge.key ]] || runuser -u munge -- /usr/sbin/mungekey
  runuser -u munge -- /usr/sbin/munged
fi

mkdir -p "$folder/state" "$folder/spool_n1" "$folder/spool_n2"
cat >"$SLURM_CONF" <<TEXT
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool_%n
SlurmctldPidFile=$folder/controller.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/controller.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 2))] CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
TEXT
slurmctld -f "$SLURM_CONF"
slurmd -N n1 -f "$SLURM_CONF"
slurmd -N n2 -f "$SLURM_CONF"
for _ in $(seq 60); do
  [[ "$(sinfo --noheader --Node --format %T 2>/dev/null)" == $'idle\nidle' ]] && exit 0
  sleep 0.5
done
echo "two nodes must be idle within 30 s, got: $(sinfo --noheader --Node 2>&1)" >&2
stop
exit 1
