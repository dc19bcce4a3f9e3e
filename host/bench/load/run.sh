#!/usr/bin/env bash
# The gateway beside nginx: both in front of the same upstream, each pinned to
# the same one core, loaded in alternation by wrk on the other core.
#
#   host/bench/load/run.sh [ROUNDS] [SECONDS]
#
# Everything stays on the loopback interface and ends by itself. Needs wrk and
# nginx (Debian's packages of these names; installed when this runs as root).
# What passes through the gateway is decided by the shipped policies
# layered-fallback and confidence-threshold on every request.
set -euo pipefail
cd "$(dirname "$0")/../../.."

rounds=${1:-3}
seconds=${2:-8}
core_proxy=0
core_load=1

for tool in wrk nginx; do
  command -v "$tool" >/dev/null || { apt-get update -qq && apt-get install -y -qq "$tool" >/dev/null; }
done
target=${CARGO_TARGET_DIR:-target}
cargo build --release -q
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT

answer='{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a short answer to a short question"},"finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":9,"completion_tokens":8,"total_tokens":17}}'

nginx_conf() { # NAME, server block
  cat >"$dir/$1.conf" <<CONF
worker_processes 1;
daemon off;
pid $dir/$1.pid;
error_log $dir/$1.err;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $dir/$1-body;
  keepalive_requests 100000000;
  $2
}
CONF
}
nginx_conf upstream "server { listen 127.0.0.1:9100; default_type application/json; location / { return 200 '$answer'; } }"
nginx_conf proxy "upstream model { server 127.0.0.1:9100; keepalive 64; keepalive_requests 100000000; }
  server { listen 127.0.0.1:9101; location / { proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ''; } }"

cat >"$dir/backstop.toml" <<CONF
[server]
listen = "127.0.0.1:9102"
admin = "127.0.0.1:9103"
data_dir = "$dir/data"

[providers.upstream]
kind = "openai"
base_url = "http://127.0.0.1:9100/v1"

[models.primary]
provider = "upstream"

[models.backup]
provider = "upstream"

[policies.fallback]
component = "builtin:layered-fallback"
grants = { metrics = ["error-rate", "latency-ms"] }

[policies.confidence]
component = "builtin:confidence-threshold"
settings = { without_confidence = "accept" }
grants = { metrics = ["accuracy", "confidence", "escalation-rate", "review-rate"] }

[rules.sorry]
text = "sorry"

[routes.chat]
kind = "chat"
models = ["primary", "backup"]
rules = ["sorry"]
fallback = "fallback"
threshold = "confidence"
CONF

cat >"$dir/post.lua" <<'LUA'
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"model":"chat","messages":[{"role":"user","content":"a short question, as many are"}]}'
function done(summary, latency)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %.0f %.0f %.0f %d\n", summary.requests / (summary.duration / 1e6),
    latency:percentile(50), latency:percentile(99), failed))
end
LUA

taskset -c $core_load nginx -c "$dir/upstream.conf" -p "$dir" &
taskset -c $core_proxy nginx -c "$dir/proxy.conf" -p "$dir" &
taskset -c $core_proxy "$target/release/backstop" serve --config "$dir/backstop.toml" >"$dir/backstop.log" 2>&1 &
gateway=$!

wait_for() {
  for _ in $(seq 100); do
    curl -fs -o /dev/null "$@" && return
    sleep 0.1
  done
  cat "$dir/backstop.log" >&2
  echo "nobody answers: $*" >&2
  exit 1
}
ask=(-X POST -H 'content-type: application/json' -d '{"model":"chat","messages":[{"role":"user","content":"hi"}]}')
wait_for "${ask[@]}" http://127.0.0.1:9101/v1/chat/completions
wait_for "${ask[@]}" http://127.0.0.1:9102/v1/chat/completions

load() { # PORT, CONNECTIONS
  taskset -c $core_load wrk -t1 -c"$2" -d"${seconds}s" -s "$dir/post.lua" "http://127.0.0.1:$1/v1/chat/completions" | grep '^RESULT'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for connections in 32 1; do
  : >"$dir/9100"; : >"$dir/9101"; : >"$dir/9102"
  for _ in $(seq "$rounds"); do
    for port in 9100 9101 9102; do
      load $port $connections >>"$dir/$port"
    done
  done
  printf '\n%s connection(s), medians of %s rounds of %s s\n' "$connections" "$rounds" "$seconds"
  printf '%-22s %12s %10s %10s %8s\n' '' 'requests/s' 'p50 us' 'p99 us' 'failed'
  for row in '9100 upstream itself' '9101 nginx proxy_pass' '9102 backstop'; do
    port=${row%% *}
    column() { awk "{ print \$$1 }" "$dir/$port" | median; }
    printf '%-22s %12s %10s %10s %8s\n' "${row#* }" "$(column 2)" "$(column 3)" "$(column 4)" "$(awk '{ s += $5 } END { print s }' "$dir/$port")"
  done
  awk -v n="$(awk '{ print $2 }' "$dir/9101" | median)" -v b="$(awk '{ print $2 }' "$dir/9102" | median)" \
    'BEGIN { printf "backstop / nginx: %.2f of the requests per second\n", b / n }'
  awk -v n="$(awk '{ print $3 }' "$dir/9101" | median)" -v b="$(awk '{ print $3 }' "$dir/9102" | median)" \
    -v u="$(awk '{ print $3 }' "$dir/9100" | median)" \
    'BEGIN { printf "added at p50: backstop %d us, nginx %d us\n", b - u, n - u }'
done
printf '\nresident memory of the gateway: %s KiB\n' "$(awk '/VmRSS/ { print $2 }' /proc/$gateway/status)"
