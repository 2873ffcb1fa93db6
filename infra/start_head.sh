#!/usr/bin/env bash
# Start a Ray head with token authentication and say how to submit a job to it.
#
#   infra/start_head.sh [FOLDER]      FOLDER keeps token and address; default .ray-head
#   infra/stop_head.sh  [FOLDER]
#
# Options, by environment:
#   HEAD_IP          address to listen on; default 127.0.0.1, this machine only
#   HEAD_PORT        default 6380;  DASHBOARD_PORT  default 8266;  AGENT_PORT  default 52366
#   CLIENT_PORT      default 20001
#   HEAD_CPUS, HEAD_GPUS   what the head offers; default everything
#   RAY_AUTH_TOKEN   default: made anew
#   PYTHON_BIN       folder of the python that runs jobs; default .venv/bin of this repository
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-.ray-head}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

ip=${HEAD_IP:-127.0.0.1}
port=${HEAD_PORT:-6380}
dashboard_port=${DASHBOARD_PORT:-8266}
agent_port=${AGENT_PORT:-52366}
client_port=${CLIENT_PORT:-20001}

# Ray gives 10002 to 19999 to its workers; a head inside that range meets one sooner or later.
for number in "$port" "$dashboard_port" "$agent_port" "$client_port"; do
  if ((number >= 10002 && number <= 19999)); then
    echo "port must be outside 10002 to 19999, got $number; choose another" >&2
    exit 2
  fi
done
if [[ -e "$folder/head.pid" ]] && kill -0 "$(cat "$folder/head.pid")" 2>/dev/null; then
  echo "a head of $folder runs already; stop it with infra/stop_head.sh $folder" >&2
  exit 1
fi

# The job's python is the first one on the head's PATH.
bin=${PYTHON_BIN:-$repository/.venv/bin}
[[ -d "$bin" ]] && export PATH="$bin:$PATH"
command -v ray >/dev/null || { echo "ray must be on PATH, got none; run make install" >&2; exit 1; }

token=${RAY_AUTH_TOKEN:-$(python3 -c 'import secrets; print(secrets.token_hex(32))')}
umask 077
printf '%s' "$token" >"$folder/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$token"
export RAY_USAGE_STATS_ENABLED=0

# A folder of its own for Ray's sessions and logs: Ray sends a submitted job to the cluster that was
# started last in its head's folder, which in /tmp/ray may be anybody's. Short, for sockets in it.
session=$(mktemp -d /tmp/ray-head.XXXXXX)
printf '%s' "$session" >"$folder/session"

# For the whole cluster: a node whose link is cut, or an answer that never comes, is given up within
# half a minute. Ray waits minutes for both.
health='{"health_check_timeout_ms":5000,"health_check_failure_threshold":3,'
health+='"grpc_client_keepalive_time_ms":10000,"grpc_client_keepalive_timeout_ms":10000}'

# --block keeps the head one process tree of ours, so that stopping it ends nobody else's.
# Its working directory is the repository: Ray starts a job's driver from there.
cd "$repository"
nohup setsid ray start --head --block --temp-dir "$session" --system-config "$health" \
  --node-ip-address "$ip" --port "$port" \
  --dashboard-host "$ip" --dashboard-port "$dashboard_port" \
  --dashboard-agent-listen-port "$agent_port" \
  --ray-client-server-port "$client_port" \
  --disable-usage-stats \
  ${HEAD_CPUS:+--num-cpus "$HEAD_CPUS"} ${HEAD_GPUS:+--num-gpus "$HEAD_GPUS"} \
  >"$folder/head.log" 2>&1 &
echo $! >"$folder/head.pid"

api="http://$ip:$dashboard_port"
for _ in $(seq 1 120); do
  if ! kill -0 "$(cat "$folder/head.pid")" 2>/dev/null; then
    echo "the head must stay up, got an end; its log:" >&2
    tail -n 20 "$folder/head.log" >&2
    exit 1
  fi
  if ray job list --address "$api" >/dev/null 2>&1; then
    printf 'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=%s RAY_API_SERVER_ADDRESS=%s\n' \
      "$token" "$api" >"$folder/env.sh"
    cat <<TEXT
Ray head at $ip:$port, jobs at $api, log in $folder/head.log, Ray's own in $session

  source $folder/env.sh
  ray job submit --working-dir . -- python jobs/build.py jobs/configs/photos_dct.toml

stop it with infra/stop_head.sh $folder
TEXT
    exit 0
  fi
  sleep 0.5
done
echo "the head must answer within 60 s, got silence ($api); see $folder/head.log" >&2
"$repository/infra/stop_head.sh" "$folder"
exit 1
