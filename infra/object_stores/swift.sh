#!/usr/bin/env bash
# OpenStack Swift with its S3 API on one machine, to try object storage that checks signatures.
#
#   python3 -m venv swift-venv && swift-venv/bin/pip install swift    (and memcached, as of Debian)
#   SWIFT_BIN=swift-venv/bin infra/object_stores/swift.sh start DIR   prints what to set
#   infra/object_stores/swift.sh stop DIR
#
# SWIFT_PORT (9104) and the four ports after it on 127.0.0.1 are used. Everything lies in DIR, which
# must be on a disk with extended attributes. Keys: test:tester and testing.
set -euo pipefail

usage="usage: swift.sh start|stop DIR"
action=${1:?$usage}
mkdir -p "${2:?$usage}"
dir=$(realpath "$2")
bin=$(realpath "${SWIFT_BIN:-.}")
port=${SWIFT_PORT:-9104}
declare -A ports=([account]=$((port + 1)) [container]=$((port + 2)) [object]=$((port + 3)))
cache_port=$((port + 4))

stop() {
  [ -f "$dir/pids" ] || return 0
  while read -r pid; do
    kill "$pid" 2>/dev/null || true
  done <"$dir/pids"
  rm "$dir/pids"
}

make_rings() {
  cd "$dir/etc"
  cat >swift.conf <<EOF
[swift-hash]
swift_hash_path_suffix = loopback
swift_hash_path_prefix = loopback
[storage-policy:0]
name = Policy-0
default = yes
[swift-constraints]
max_header_size = 16384
EOF
  for server in account container object; do
    cat >"$server-server.conf" <<EOF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${ports[$server]}
user = $(id -un)
swift_dir = $dir/etc
devices = $dir/node
mount_check = false
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = $server-server
[app:$server-server]
use = egg:swift#$server
recon_cache_path = $dir/cache
EOF
    [ -f "$server.ring.gz" ] && continue
    "$bin/swift-ring-builder" "$server.builder" create 6 1 1 >/dev/null
    "$bin/swift-ring-builder" "$server.builder" add "r1z1-127.0.0.1:${ports[$server]}/d1" 1 >/dev/null
    "$bin/swift-ring-builder" "$server.builder" rebalance >/dev/null
  done
}

make_proxy() {
  filters="catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl s3api tempauth"
  filters="$filters copy slo dlo versioned_writes symlink"
  {
    printf '[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = %s\nuser = %s\n' "$port" "$(id -un)"
    printf 'swift_dir = %s/etc\nworkers = 0\nlog_level = WARNING\n' "$dir"
    printf '[pipeline:main]\npipeline = %s proxy-server\n' "$filters"
    printf '[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n'
    for filter in $filters; do
      name=$filter
      [ "$filter" = cache ] && name=memcache
      printf '[filter:%s]\nuse = egg:swift#%s\n' "$filter" "$name"
      case $filter in
        cache) printf 'memcache_servers = 127.0.0.1:%s\n' "$cache_port" ;;
        s3api) printf 'location = us-east-1\nmin_segment_size = 1\n' ;;
        tempauth) printf 'user_test_tester = testing .admin\n' ;;
        versioned_writes) printf 'allow_versioned_writes = true\nallow_object_versioning = true\n' ;;
      esac
    done
  } >"$dir/etc/proxy-server.conf"
}

run() {
  log=$dir/$1.log
  shift
  setsid "$@" >"$log" 2>&1 </dev/null &
  echo $! >>"$dir/pids"
}

start() {
  for program in "$bin/swift-proxy-server" memcached; do
    command -v "$program" >/dev/null || {
      echo "swift.sh needs $program; its first lines say how to install it" >&2
      exit 1
    }
  done
  stop
  mkdir -p "$dir/etc" "$dir/node/d1" "$dir/cache"
  make_rings
  make_proxy
  export PATH=$bin:$PATH
  run memcached memcached -u nobody -l 127.0.0.1 -p "$cache_port" -m 64
  for server in account container object; do
    run "$server" "swift-$server-server" "$dir/etc/$server-server.conf"
  done
  run proxy swift-proxy-server "$dir/etc/proxy-server.conf"
  for _ in $(seq 120); do
    if curl -sf "http://127.0.0.1:$port/healthcheck" >/dev/null; then
      echo "export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_ACCESS_KEY_ID=test:tester" \
        "AWS_SECRET_ACCESS_KEY=testing AWS_DEFAULT_REGION=us-east-1"
      exit 0
    fi
    sleep 0.5
  done
  echo "swift did not answer within 60 s; $dir/*.log say why" >&2
  stop
  exit 1
}

case $action in
  start) start ;;
  stop) stop ;;
  *) echo "$usage" >&2 && exit 2 ;;
esac
