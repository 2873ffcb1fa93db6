#!/usr/bin/env bash
# ray 2.60.0: a job that was submitted to one cluster runs in another that started on the machine later.
#
# `ray job submit` hands the job to the head behind its --address. What that head tells the job as
# RAY_ADDRESS is not its own address: its job supervisor reads the file ray_current_cluster in its
# session folder, /tmp/ray unless told otherwise, where the Ray that started last on this machine,
# whoever's it is, has written its address. So ray.init() in the job joins that one, and its tasks
# and actors run there; `ray job status` on the first cluster says SUCCEEDED. A plain `ray.init("local")`
# of another script is enough. If that one has ended meanwhile, every later job fails with a refused
# connection to an address that nobody has typed.
# For whom it matters: a workstation or a login node with a long-lived head, beside notebooks and
# test runs that start a Ray of their own.
# What helps: a session folder of its own for each head, `ray start --temp-dir` (shown below).
#
# Versions: ray 2.60.0. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
heads=()
end() {
  for each in "${heads[@]}"; do kill -TERM "$each" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "ray[default]==2.60.0"
export PATH="$work/venv/bin:$PATH" RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled
shared=$work/shared own=$work/own # in the place of /tmp/ray, so that nobody's Ray is disturbed
mkdir "$shared" "$own" "$work/job"
echo 'import ray; ray.init(log_to_driver=False); print("JOB RAN IN", ray.get_runtime_context().gcs_address)' \
  >"$work/job/job.py"

head() { # FOLDER PORT DASHBOARD AGENT CLIENT
  ray start --head --block --temp-dir "$1" --node-ip-address 127.0.0.1 --port "$2" --num-cpus 1 \
    --dashboard-port "$3" --dashboard-agent-listen-port "$4" --ray-client-server-port "$5" \
    --disable-usage-stats >"$work/head.$2.log" 2>&1 &
  heads+=($!)
  for _ in $(seq 1 120); do
    ray job list --address "http://127.0.0.1:$3" >/dev/null 2>&1 && return
    sleep 0.5
  done
  cat "$work/head.$2.log"
  exit 1
}
ran_in() { # DASHBOARD
  ray job submit --address "http://127.0.0.1:$1" --working-dir "$work/job" -- python job.py 2>/dev/null |
    sed -n 's/^JOB RAN IN //p'
}

ray --version
head "$shared" 27101 27102 27103 27104
echo "submitted to 127.0.0.1:27101, nothing else started yet: ran in $(ran_in 27102)"
head "$shared" 27301 27302 27303 27304
other=$(ran_in 27102)
echo "submitted to 127.0.0.1:27101, a second head started:  ran in $other"
head "$own" 27201 27202 27203 27204
mine=$(ran_in 27202)
echo "submitted to 127.0.0.1:27201, a folder of its own:      ran in $mine"
[[ -n "$other" && "$other" != *:27101 && "$mine" == *:27201 ]]
