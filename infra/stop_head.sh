#!/usr/bin/env bash
# Stop the Ray head that infra/start_head.sh started with the same folder, and nothing else.
set -euo pipefail

folder=${1:-.ray-head}
if [[ ! -e "$folder/head.pid" ]]; then
  echo "no head was started from $folder" >&2
  exit 1
fi
pid=$(cat "$folder/head.pid")

# Everything below the head: Ray's daemons and workers stay its descendants.
descendants() {
  local child
  for child in $(ps -o pid= --ppid "$1"); do
    echo "$child"
    descendants "$child"
  done
}

if kill -0 "$pid" 2>/dev/null; then
  family="$pid $(descendants "$pid" | tr '\n' ' ')"
  # The head first: it ends its own daemons, and they their workers.
  kill -TERM "$pid" 2>/dev/null || true
  for turn in $(seq 1 40); do
    # Whatever outlives the head for two seconds is told itself.
    if ((turn == 9)); then kill -TERM $alive 2>/dev/null || true; fi
    alive=""
    for each in $family; do kill -0 "$each" 2>/dev/null && alive="$alive $each"; done
    [[ -z "$alive" ]] && break
    sleep 0.25
  done
  [[ -n "${alive:-}" ]] && kill -KILL $alive 2>/dev/null || true
fi
rm -f "$folder/head.pid" "$folder/token" "$folder/env.sh"
echo "stopped"
