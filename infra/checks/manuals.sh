#!/bin/sh
# The operations lines of five manuals (tests/manuals), on a stack of its own, `manuals`, which they stop and start.
#
# Ports: MANUALS_PORT, MANUALS_EMULATOR_PORT, MANUALS_MODEL_PORT. Arguments go to the tests.
set -eu

cd "$(dirname -- "$0")/../.."
for tool in bash curl jq watch git; do
    command -v "$tool" >/dev/null || { echo "manuals: $tool was not found; the manuals' lines use it (Debian: apt install curl jq procps git)" >&2; exit 1; }
done
export PORT="${MANUALS_PORT:-8160}" EMULATOR_PORT="${MANUALS_EMULATOR_PORT:-4726}" MODEL_PORT="${MANUALS_MODEL_PORT:-4170}"
export REPRISE_STACK=manuals
unset OPENAI_API_KEY ANTHROPIC_API_KEY MODEL MODEL_BASE_URL MODEL_API_KEY REPRISE_PROFILE LOG_JSON 2>/dev/null || true
reprise() { cargo run --quiet --locked --bin reprise -- "$@"; }

finish() {
    code=$?
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        for function in agent-api queue-consumer dlq-redrive sweeper; do
            echo "--- the last lines of $function"
            reprise stack logs "$function" --tail 25 || true
        done
    fi
    reprise stack down || [ "$code" -ne 0 ] || code=1
    exit "$code"
}

# What an interrupted run has left behind.
reprise stack down >/dev/null 2>&1 || true
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Short times, so that runs die while one waits; no breaker, which would keep the other lines from the model.
reprise stack up --no-ask --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=2 \
    --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]'

export REPRISE_TEST_URL="http://localhost:$PORT" REPRISE_TEST_EMULATOR="http://127.0.0.1:$EMULATOR_PORT" REPRISE_TEST_MODEL="http://127.0.0.1:$MODEL_PORT"
cargo test --locked --package tests --test manuals "$@"
