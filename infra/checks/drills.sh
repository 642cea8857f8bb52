#!/bin/sh
# What an operator sees while something is wrong (tests/drills): brings up a stack of its own, `drills`, with short thresholds, runs the
# drills one after the other, and takes it down again whatever happens. Other stacks may run beside it.
#
# Ports: DRILLS_PORT, DRILLS_EMULATOR_PORT, DRILLS_MODEL_PORT. Arguments choose drills (`infra/checks/drills.sh probes`).
set -eu

cd "$(dirname -- "$0")/../.."
export PORT="${DRILLS_PORT:-8170}" EMULATOR_PORT="${DRILLS_EMULATOR_PORT:-4770}" MODEL_PORT="${DRILLS_MODEL_PORT:-4270}"
# The drills know what the offline model answers, whatever the user has set for `make run`.
unset OPENAI_API_KEY ANTHROPIC_API_KEY MODEL MODEL_BASE_URL MODEL_API_KEY 2>/dev/null || true
stack="${DRILLS_STACK:-drills}"
logs=".local/stacks/$stack/log"
reprise() { cargo run --quiet --locked --bin reprise -- "$@"; }

finish() {
    code=$?
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        for function in health agent-api queue-consumer sweeper; do
            echo "--- the last lines of $function"
            reprise stack logs "$function" --name "$stack" --tail 25 || true
        done
        for log in "$logs"/emulator.log "$logs"/model.log; do
            [ -f "$log" ] && echo "--- the last lines of $log" && tail -n 25 "$log"
        done
    fi
    reprise stack down --name "$stack" || [ "$code" -ne 0 ] || code=1
    exit "$code"
}

# What an interrupted run has left behind.
reprise stack down --name "$stack" >/dev/null 2>&1 || true
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Short times, so that what is wrong shows while a test can wait for it.
reprise stack up --name "$stack" --no-ask \
    --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=2 --parameter InlineSeconds=3 \
    --parameter ConsumerConcurrency=4 --parameter RequestsPerSecond=10000

export REPRISE_TEST_URL="http://localhost:$PORT" REPRISE_TEST_EMULATOR="http://127.0.0.1:$EMULATOR_PORT" REPRISE_TEST_MODEL="http://127.0.0.1:$MODEL_PORT"
export REPRISE_STACK="$stack"
# One after the other: a fault is for the whole stack.
cargo test --locked --package tests --test drills -- --test-threads=1 "$@"
