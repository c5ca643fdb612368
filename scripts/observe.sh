#!/usr/bin/env bash
# Starts the server, some bots, and what looks at them: the real Jaeger and Prometheus, and Grafana
# where it is installed. Says where all of it is. Ctrl-C ends all of it.
#   PORT, ADMIN_PORT            where the server listens on loopback (7777, 7780)
#   JAEGER_PORT, OTLP_PORT      Jaeger's answers, and where it takes traces (16686, 4317)
#   PROMETHEUS_PORT             (9090)
#   GRAFANA_PORT, GRAFANA_HOME  (3000, /usr/share/grafana)
#   BOTS                        how many bots play (24; 0 for none)
#   TRACE                       the share of moves and of ticks that are traced (0.05)
# Build first: `make observe` does both. With Docker, observability/compose.yaml has more: README there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

port=${PORT:-7777} admin_port=${ADMIN_PORT:-7780} control_port=${CONTROL_PORT:-7781} bots=${BOTS:-24} trace=${TRACE:-0.05}
jaeger_port=${JAEGER_PORT:-16686} otlp_port=${OTLP_PORT:-4317}
prometheus_port=${PROMETHEUS_PORT:-9090} grafana_port=${GRAFANA_PORT:-3000}
grafana_home=${GRAFANA_HOME:-/usr/share/grafana}

url=http://127.0.0.1:$port admin=http://127.0.0.1:$admin_port
jaeger=http://127.0.0.1:$jaeger_port prometheus=http://127.0.0.1:$prometheus_port
grafana=http://127.0.0.1:$grafana_port
bin=${CARGO_TARGET_DIR:-target}/release
tools=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin
self=observe
logs=${CARGO_TARGET_DIR:-target}/observe
# shellcheck source=scripts/processes.sh
. scripts/processes.sh

# What switches traces on. Whose name is not set here is called fray-server, and fray-bot.
otlp=(env -u OTEL_SERVICE_NAME "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$otlp_port")
server_flags=(--trace-moves "$trace" --trace-ticks "$trace")
bot_flags=(--trace-moves "$trace")

command -v curl >/dev/null || fail "curl is missing"
for program in fray-server fray-bot; do
  [ -x "$bin/$program" ] || fail "$bin/$program is not built: run \`make observe\`"
done
scripts/tools.sh jaeger prometheus ||
  fail "what is missing is in observability/compose.yaml, too, for Docker"
PATH=$tools:$PATH # else what the installer found on PATH
must_be_free "$port" PORT
must_be_free "$admin_port" ADMIN_PORT
must_be_free "$control_port" CONTROL_PORT
must_be_free "$jaeger_port" JAEGER_PORT
must_be_free "$otlp_port" OTLP_PORT
must_be_free "$prometheus_port" PROMETHEUS_PORT
mkdir -p "$logs/provisioning/datasources" "$logs/provisioning/dashboards"
logs=$(cd "$logs" && pwd)

start jaeger env "FRAY_JAEGER_PORT=$jaeger_port" "FRAY_OTLP_PORT=$otlp_port" \
  jaeger --config observability/jaeger.yaml

# The file that the compose file uses, with this server's address. Its rules are beside it.
sed "s/127\.0\.0\.1:7780/127.0.0.1:$admin_port/" observability/prometheus.yaml >"$logs/prometheus.yaml"
ln -sfn "$PWD/helm/rules" "$logs/rules"
start prometheus prometheus --config.file="$logs/prometheus.yaml" \
  --web.listen-address="127.0.0.1:$prometheus_port" --enable-feature=exemplar-storage \
  --storage.tsdb.path="$logs/prometheus" --storage.tsdb.retention.time=1d \
  --storage.tsdb.retention.size=512MB --log.level=warn

grafana_is="is not installed here: observability/compose.yaml has it, for Docker"
if command -v grafana >/dev/null && [ -d "$grafana_home" ]; then
  must_be_free "$grafana_port" GRAFANA_PORT
  cp observability/grafana/datasources.yaml "$logs/provisioning/datasources/"
  cp observability/grafana/dashboards.yaml "$logs/provisioning/dashboards/"
  start grafana env "PROMETHEUS_URL=$prometheus" "JAEGER_URL=$jaeger" "DASHBOARDS=$PWD/helm/dashboards" \
    GF_SERVER_HTTP_ADDR=127.0.0.1 "GF_SERVER_HTTP_PORT=$grafana_port" GF_ANALYTICS_REPORTING_ENABLED=false \
    GF_ANALYTICS_CHECK_FOR_UPDATES=false GF_AUTH_ANONYMOUS_ENABLED=true GF_AUTH_ANONYMOUS_ORG_ROLE=Admin \
    "GF_PATHS_DATA=$logs/grafana" "GF_PATHS_PROVISIONING=$logs/provisioning" \
    grafana server --homepath "$grafana_home"
  wait_ready grafana "$grafana/api/health"
  grafana_is=$grafana/dashboards
fi
wait_ready jaeger "$jaeger/api/services"
wait_ready prometheus "$prometheus/-/ready"

start server "${otlp[@]}" "$bin/fray-server" --listen "127.0.0.1:$port" \
  --admin "127.0.0.1:$admin_port" --control "127.0.0.1:$control_port" --store "$logs/store" "${server_flags[@]}"
wait_ready server "$admin/readyz"

if [ "$bots" -gt 0 ]; then
  start bots "${otlp[@]}" "$bin/fray-bot" swarm --players "$bots" --url "$url" --duration 0 --quiet \
    "${bot_flags[@]}"
fi

cat <<TEXT

    Fray is up:    $url/          $bots bots play
    its state      $admin/status    metrics: $admin/metrics
    Prometheus     $prometheus/graph?g0.expr=fray_players&g0.tab=0
    Jaeger         $jaeger/api/services
                   (built without its web page, which observability/compose.yaml has, for Docker)
    Grafana        $grafana_is

  Traces: of $trace of all moves and ticks, and of every late tick. In another terminal:
    curl -s '$jaeger/api/traces?service=fray-bot&operation=fray.move&limit=1'                       a move
    curl -s '$jaeger/api/traces?service=fray-server&operation=fray.tick&minDuration=5ms&limit=5'    slow ticks
  From a slow tick to the code (docs/SLOW_TICKS.md): its trace names a recording and a tick for
    $bin/fray-bot replay $logs/store --recording NAME --at TICK --profile
  Logs are in $logs/. Ctrl-C ends everything.

TEXT
run_until_signal
