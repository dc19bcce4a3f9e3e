#!/usr/bin/env bash
# The gateway beside nginx: both in front of the same upstream, each pinned to
# the same one core, loaded in alternation by wrk on the other core.
#
#   host/bench/load/run.sh [ROUNDS] [SECONDS]
#
# Everything stays on the loopback interface and ends by itself. Needs wrk and
# nginx (Debian's packages of these names; installed when this runs as root).
# What passes through the gateway is decided by the shipped policies
# layered-fallback and confidence-threshold on every request, a row for each
# isolation: fresh instances, instances that are put back (the fallback policy's;
# one that judges cannot be), warm ones. Beside requests and latency the
# script prints the processor time that a request cost the proxy, in the
# process and in the kernel: on a machine that wakes idle cores slowly, the
# slower proxy also pays for waking its peers, which a busy peer does not need.
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
trap 'kill -CONT $(jobs -p) 2>/dev/null || true; kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"' EXIT

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

backstop_conf() { # NAME, PORT, ISOLATION of the fallback policy, of the threshold policy
  cat >"$dir/$1.toml" <<CONF
[server]
listen = "127.0.0.1:$2"
admin = "127.0.0.1:$(($2 + 1))"
data_dir = "$dir/$1"

[providers.upstream]
kind = "openai"
base_url = "http://127.0.0.1:9100/v1"

[models.primary]
provider = "upstream"

[models.backup]
provider = "upstream"

[policies.fallback]
component = "builtin:layered-fallback"
isolation = "$3"
grants = { metrics = ["error-rate", "latency-ms"] }

[policies.confidence]
component = "builtin:confidence-threshold"
isolation = "$4"
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
}
backstop_conf fresh 9102 fresh fresh
backstop_conf reset 9104 reset fresh
backstop_conf warm 9106 warm warm

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
upstream=$!
taskset -c $core_proxy nginx -c "$dir/proxy.conf" -p "$dir" &
proxy=$!
for name in fresh reset warm; do
  taskset -c $core_proxy "$target/release/backstop" serve --config "$dir/$name.toml" >"$dir/$name.log" 2>&1 &
  declare "$name=$!"
done

wait_for() {
  for _ in $(seq 100); do
    curl -fs -o /dev/null "$@" && return
    sleep 0.1
  done
  cat "$dir"/*.log >&2
  echo "nobody answers: $*" >&2
  exit 1
}
ask=(-X POST -H 'content-type: application/json' -d '{"model":"chat","messages":[{"role":"user","content":"hi"}]}')
for port in 9101 9102 9104 9106; do
  wait_for "${ask[@]}" http://127.0.0.1:$port/v1/chat/completions
done
# A master does nothing but wait for its worker.
upstream=$(pgrep -P $upstream)
proxy=$(pgrep -P $proxy)

# Ticks of processor time in the process and in the kernel, of process $1.
ticks() { awk '{ print $14, $15 }' "/proc/$1/stat"; }
tick_us=$((1000000 / $(getconf CLK_TCK)))

load() { # PORT, CONNECTIONS, PROCESS -> requests/s, p50, p99, failed, user and kernel microseconds a request
  local before after result other
  # Whoever is not measured stands still: the clocks of three sandboxes that
  # have nothing to do still wake the core a few thousand times a second.
  for other in "$fresh" "$reset" "$warm"; do
    [ "$other" = "$3" ] && kill -CONT "$other" || kill -STOP "$other"
  done
  before=$(ticks "$3")
  result=$(taskset -c $core_load wrk -t1 -c"$2" -d"${seconds}s" -s "$dir/post.lua" "http://127.0.0.1:$1/v1/chat/completions" | awk '/^RESULT/ { print $2, $3, $4, $5 }')
  after=$(ticks "$3")
  awk -v r="$result" -v b="$before" -v a="$after" -v us=$tick_us -v s="$seconds" 'BEGIN {
    split(r, v, " "); split(b, t0, " "); split(a, t1, " "); n = v[1] * s
    printf "%s %.1f %.1f\n", r, (t1[1] - t0[1]) * us / n, (t1[2] - t0[2]) * us / n }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
column() { awk "{ print \$$2 }" "$dir/$1" | median; }

rows=("9100 $upstream upstream itself" "9101 $proxy nginx proxy_pass" "9102 $fresh backstop, fresh" "9104 $reset backstop, reset" "9106 $warm backstop, warm")
for connections in 32 1; do
  for row in "${rows[@]}"; do : >"$dir/${row%% *}"; done
  for _ in $(seq "$rounds"); do
    for row in "${rows[@]}"; do
      read -r port process _ <<<"$row"
      load "$port" "$connections" "$process" >>"$dir/$port"
    done
  done
  printf '\n%s connection(s), medians of %s rounds of %s s\n' "$connections" "$rounds" "$seconds"
  printf '%-20s %11s %9s %8s %8s %9s %9s %7s %10s\n' '' requests/s 'of nginx' 'p50 us' 'p99 us' 'user us' 'kernel us' failed 'added p50'
  for row in "${rows[@]}"; do
    read -r port _ name <<<"$row"
    printf '%-20s %11s %9s %8s %8s %9s %9s %7s %10s\n' "$name" "$(column "$port" 1)" \
      "$(awk -v a="$(column "$port" 1)" -v n="$(column 9101 1)" 'BEGIN { printf "%.2f", a / n }')" \
      "$(column "$port" 2)" "$(column "$port" 3)" "$(column "$port" 5)" "$(column "$port" 6)" \
      "$(awk '{ s += $4 } END { print s }' "$dir/$port")" "$(($(column "$port" 2) - $(column 9100 2)))"
  done
done
kill -CONT "$fresh" "$reset" "$warm"
# What nobody needs any more goes within seconds.
sleep 10
for name in fresh reset warm; do
  printf '\nresident ten seconds after the load, %s instances: %s KiB' "$name" "$(awk '/VmRSS/ { print $2 }' "/proc/${!name}/status")"
done
printf '\n'
