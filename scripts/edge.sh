#!/usr/bin/env bash
# A fleet on this machine: three servers that share a NATS, and before them Envoy with TLS, as in production. Says where to
# play. Ctrl-C ends all of it.
#   EDGE_PORT, EDGE_ADMIN_PORT   where players come in, and Envoy's own port (8443, 9901)
#   SERVER_PORT                  the first server's port (7777); the others have the next two. Probes, peers and verbs of a
#                                server are 100, 200 and 300 above its port
#   NATS_PORT                    (4222)
#   BOTS                         how many bots play along (24; 0 for none)
#   SERVER_FLAGS                 more flags for the servers
#   EDGE_VALUES                  a file of values for the chart's edge, on top of envoy/local-values.yaml; needs helm
#   ENVOY_CONFIG                 a configuration of your own, instead
#   ENVOY_THREADS                (2)
#   OTLP                         the servers' collector, HOST:PORT
#   FOLDER                       where keys, certificates and logs go (target/edge)
# Build first: `make edge` does both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

edge_port=${EDGE_PORT:-8443} edge_admin_port=${EDGE_ADMIN_PORT:-9901}
server_port=${SERVER_PORT:-7777} nats_port=${NATS_PORT:-4222} bots=${BOTS:-24}
bin=${CARGO_TARGET_DIR:-target}/${PROFILE:-release}
tools=${FRAY_TOOLS:-$HOME/.cache/fray-tools}/bin
folder=${FOLDER:-${CARGO_TARGET_DIR:-target}/edge}
url=https://localhost:$edge_port
self=edge
logs=$folder
# shellcheck source=scripts/processes.sh
. scripts/processes.sh

for program in curl openssl; do
  command -v "$program" >/dev/null || fail "$program is missing"
done
for program in fray-server fray-bot; do
  [ -x "$bin/$program" ] || fail "$bin/$program is not built: run \`make edge\`"
done
scripts/tools.sh envoy nats-server || fail "Envoy and NATS are needed"
PATH=$tools:$PATH # else what the installer found on PATH
must_be_free "$edge_port" EDGE_PORT
must_be_free "$edge_admin_port" EDGE_ADMIN_PORT
must_be_free "$nats_port" NATS_PORT
for number in 0 1 2; do
  for above in 0 100 200 300; do must_be_free $((server_port + number + above)) SERVER_PORT; done
done
mkdir -p "$folder/tls"
chmod 700 "$folder"
folder=$(cd "$folder" && pwd) logs=$folder

# === Keys and a certificate for this machine alone; kept, so that a browser is asked about it once

[ -n "$(ls "$folder/keys" 2>/dev/null)" ] || "$bin/fray-server" keys new "$folder/keys" >/dev/null
[ -f "$folder/session.key" ] || (umask 077 && openssl rand -hex 32 >"$folder/session.key")

certificate() { # who vouches for this machine's certificate, and the certificate; both for a year
  cd "$folder/tls"
  umask 077
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=Fray on this machine" \
    -addext "basicConstraints=critical,CA:TRUE" -keyout ca.key -out ca.crt
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" -keyout tls.key -out tls.csr
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >tls.extensions
  openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile tls.extensions -out tls.crt
  rm tls.csr tls.extensions
}
if ! openssl x509 -in "$folder/tls/tls.crt" -noout -checkend 86400 >/dev/null 2>&1; then
  (certificate) >"$folder/certificate.log" 2>&1 || fail "no certificate can be made" certificate
fi

# === NATS, three servers

start nats nats-server --jetstream --addr 127.0.0.1 --port "$nats_port" --store_dir "$folder/nats"
otlp=(env)
[ -z "${OTLP:-}" ] || otlp+=("OTEL_EXPORTER_OTLP_ENDPOINT=http://$OTLP")
for number in 0 1 2; do
  port=$((server_port + number)) name=$(echo one two three | cut -d' ' -f$((number + 1)))
  # shellcheck disable=SC2086 # more flags are words
  start "server-$name" "${otlp[@]}" "$bin/fray-server" --name "$name" --listen "127.0.0.1:$port" \
    --admin "127.0.0.1:$((port + 100))" --peer "127.0.0.1:$((port + 200))" \
    --control "127.0.0.1:$((port + 300))" --nats "nats://127.0.0.1:$nats_port" --trusted-hops 1 \
    --ticket-keys "$folder/keys" --session-key "$folder/session.key" \
    --store "$folder/store-$name" ${SERVER_FLAGS:-}
done
for number in 0 1 2; do
  wait_ready "server-$(echo one two three | cut -d' ' -f$((number + 1)))" \
    "http://127.0.0.1:$((server_port + number + 100))/readyz"
done

# === Envoy, with the configuration that the chart renders for this machine

rendered=envoy
if [ -n "${EDGE_VALUES:-}" ]; then
  scripts/tools.sh helm || fail "helm is needed for EDGE_VALUES"
  rendered=$folder/rendered
  envoy/render.sh "$rendered" --values "$EDGE_VALUES"
fi
for file in envoy.yaml edge-certificate.yaml; do
  sed -e "s/port_value: 8443 /port_value: $edge_port /" -e "s/port_value: 9901 /port_value: $edge_admin_port /" \
    -e "s/port_value: 7777 /port_value: $server_port /" -e "s/port_value: 7778 /port_value: $((server_port + 1)) /" \
    -e "s/port_value: 7779 /port_value: $((server_port + 2)) /" "$rendered/$file" >"$folder/$file"
done
[ -z "${ENVOY_CONFIG:-}" ] || cp "$ENVOY_CONFIG" "$folder/envoy.yaml"
start envoy bash -c "cd '$folder' && exec envoy --config-path envoy.yaml --disable-hot-restart --concurrency ${ENVOY_THREADS:-2} --log-level warning"
wait_ready envoy "http://127.0.0.1:$edge_admin_port/ready"
since=$SECONDS
until answers --fail --cacert "$folder/tls/ca.crt" "$url/"; do
  [ "$signals" -eq 0 ] || finish
  check_alive
  [ $((SECONDS - since)) -lt $ready_wait_secs ] || fail "the edge does not let anybody through" envoy
  nap
done

if [ "$bots" -gt 0 ]; then
  # Rooms on all three servers: whoever asks for a new one is sent to one that has few.
  start bots "$bin/fray-bot" swarm --players "$bots" --rooms 6 --url "$url" --ca "$folder/tls/ca.crt" \
    --streams-per-connection 16 --duration 0 --quiet
fi

cat <<TEXT

    A fleet is up:   $url/

  Open that page to play; a browser asks about the certificate, which only this machine vouches for
  ($folder/tls/ca.crt). $bots bots are there, in rooms on all three servers. Or try, in another terminal:
    $bin/fray-bot play --url $url --ca $folder/tls/ca.crt
    $bin/fray-bot admin --url http://127.0.0.1:$((server_port + 300)) rooms     also: drain, close, kick
    kill -9 \$(pgrep -f 'name two')        what players do then
  The live page of each server: http://127.0.0.1:$((server_port + 100))/status (and the next two ports).
  Logs are in $folder/. Ctrl-C ends all of it.

TEXT
run_until_signal
