#!/bin/sh
# Draws the dashboard's pictures anew (infra/dashboards/*.png): a stack of its own, `screens`, a real Prometheus, some minutes of work that
# is mostly well, and screenshots.py.
#
# Ports: SCREENS_PORT, SCREENS_EMULATOR_PORT, SCREENS_MODEL_PORT, SCREENS_PROMETHEUS_PORT. SECONDS_OF_WORK, 240 by default.
set -eu

cd "$(dirname -- "$0")/../.."
. infra/checks/stack.sh
stack_of screens "${SCREENS_PORT:-8195}" "${SCREENS_EMULATOR_PORT:-4757}" "${SCREENS_MODEL_PORT:-4201}"
sh infra/local/install.sh observe
sh infra/local/install.sh draw
port="${SCREENS_PROMETHEUS_PORT:-9410}"
folder=$(mktemp -d)
at_end() {
    [ -z "${prometheus:-}" ] || kill "$prometheus" 2>/dev/null || true
    rm -rf "$folder"
}

reprise stack up --no-ask --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=1
sed -e "s|localhost:8000|localhost:$PORT|; s|interval: 10s|interval: 2s|; s|scrape_timeout: 5s|scrape_timeout: 2s|; s|- rules|- $PWD/infra/prometheus/rules|" \
    infra/prometheus/prometheus.yml >"$folder/prometheus.yml"
.local/prometheus/bin/prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/data" \
    --web.listen-address="127.0.0.1:$port" >"$folder/log" 2>&1 &
prometheus=$!

ask() { curl -sS -o /dev/null -X POST "$REPRISE_TEST_URL/v1/agent" -H 'content-type: application/json' -d "$1"; }
end=$(($(date +%s) + ${SECONDS_OF_WORK:-240}))
number=0
while [ "$(date +%s)" -lt "$end" ]; do
    number=$((number + 1))
    ask "{\"prompt\": \"hello $number\"}"
    ask "{\"prompt\": \"in the background $number\", \"background\": true}"
    [ $((number % 10)) -ne 0 ] || ask "{\"prompt\": \"fails until healed $number\", \"background\": true}"
    curl -sS -o /dev/null "$REPRISE_TEST_URL/v1/runs?limit=10"
    curl -sS -o /dev/null "$REPRISE_TEST_URL/v1/runs/run_01HZZZZZZZZZZZZZZZZZZZZZZZ"
    sleep 0.3
done
.local/draw-venv/bin/python infra/dashboards/screenshots.py "http://127.0.0.1:$port" --minutes "$((${SECONDS_OF_WORK:-240} / 60 + 1))"
