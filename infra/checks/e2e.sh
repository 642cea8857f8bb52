#!/bin/sh
# The real binaries (tests/runtime), the deployed template (tests/e2e, tests/sdk) and the commands of README.md (tests/readme): brings up
# a stack of its own, `test`, runs the tests against it, and takes it down again whatever happens. The stack of `make run` may run beside it.
#
# Ports: TEST_PORT, TEST_EMULATOR_PORT, TEST_MODEL_PORT. Arguments go to the end-to-end tests (`infra/checks/e2e.sh dead`).
set -eu

cd "$(dirname -- "$0")/../.."
export PORT="${TEST_PORT:-8100}" EMULATOR_PORT="${TEST_EMULATOR_PORT:-4666}" MODEL_PORT="${TEST_MODEL_PORT:-4110}"
# The tests know what the offline model answers, whatever the user has set for `make run`.
unset OPENAI_API_KEY ANTHROPIC_API_KEY MODEL MODEL_BASE_URL MODEL_API_KEY 2>/dev/null || true
logs=.local/stacks/test/log
reprise() { cargo run --quiet --locked --bin reprise -- "$@"; }

finish() {
    code=$?
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        for function in agent-api queue-consumer dlq-redrive operator-api sweeper; do
            echo "--- the last lines of $function"
            reprise stack logs "$function" --name test --tail 25 || true
        done
        for log in "$logs"/emulator.log "$logs"/model.log; do
            [ -f "$log" ] && echo "--- the last lines of $log" && tail -n 25 "$log"
        done
    fi
    reprise stack down --name test || [ "$code" -ne 0 ] || code=1
    exit "$code"
}

# What an interrupted run has left behind.
reprise stack down --name test >/dev/null 2>&1 || true
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Short times, so that leases end and runs die while a test can wait for it; few workers, so that batches are real; no
# throttle, because the emulator has one; no breaker, because tests that make the model fail run beside tests that do not. LeaseSeconds > ModelTimeoutSeconds + 5, and InlineSeconds < the six of `slow answer`.
reprise stack up --name test --no-ask \
    --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=2 --parameter InlineSeconds=3 \
    --parameter ConsumerConcurrency=4 --parameter RequestsPerSecond=10000 \
    --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]'

export REPRISE_TEST_URL="http://localhost:$PORT" REPRISE_TEST_EMULATOR="http://127.0.0.1:$EMULATOR_PORT" REPRISE_TEST_MODEL="http://127.0.0.1:$MODEL_PORT"
cargo test --locked --package tests --test runtime
REPRISE_STACK=test cargo test --locked --package tests --test readme
# They wait far more than they compute.
cargo test --locked --package tests --test e2e -- --test-threads=8 "$@"
[ $# -eq 0 ] || exit 0
# Alone: it has the whole emulator for itself. BULK=10000 infra/checks/e2e.sh for all of it.
cargo test --locked --package tests --test bulk -- --nocapture
# OpenAI's own client. After the others: it leaves dead runs behind.
infra/local/install.sh sdk
.local/sdk-venv/bin/python -m unittest discover --start-directory tests/sdk --top-level-directory tests
# After all of them: what the functions did is what their roles allow.
.local/venv/bin/python infra/checks/permissions.py "$REPRISE_TEST_EMULATOR"
