#!/bin/sh
# The operations lines of five manuals (tests/manuals), on a stack of its own, `manuals`, which they stop and start.
#
# Ports: MANUALS_PORT, MANUALS_EMULATOR_PORT, MANUALS_MODEL_PORT. Arguments go to the tests.
set -eu

cd "$(dirname -- "$0")/../.."
for tool in bash curl jq watch git make; do
    command -v "$tool" >/dev/null || { echo "manuals: $tool was not found; the manuals' lines use it (Debian: apt install curl jq procps git make)" >&2; exit 1; }
done
. infra/checks/stack.sh
tell="agent-api queue-consumer dlq-redrive sweeper"
stack_of manuals "${MANUALS_PORT:-8160}" "${MANUALS_EMULATOR_PORT:-4726}" "${MANUALS_MODEL_PORT:-4170}"

# Short times, so that runs die while one waits; no breaker, which would keep the other lines from the model.
reprise stack up --no-ask --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=2 \
    --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]'

tests cargo test --locked --package tests --test manuals "$@"
