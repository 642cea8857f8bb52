#!/bin/sh
# The real binaries (tests/runtime), the deployed template (tests/e2e, tests/sdk) and the commands of README.md (tests/readme): brings up
# a stack of its own, `test`, runs the tests against it, and takes it down again whatever happens. The stack of `make run` may run beside it.
#
# Ports: TEST_PORT, TEST_EMULATOR_PORT, TEST_MODEL_PORT. Arguments go to the end-to-end tests (`infra/checks/e2e.sh dead`).
set -eu

cd "$(dirname -- "$0")/../.."
. infra/checks/stack.sh
tell="agent-api queue-consumer dlq-redrive operator-api sweeper"
stack_of test "${TEST_PORT:-8100}" "${TEST_EMULATOR_PORT:-4666}" "${TEST_MODEL_PORT:-4110}"

# Short times, so that leases end and runs die while a test can wait for it; few workers, so that batches are real; no
# throttle, because the emulator has one; no breaker, because tests that make the model fail run beside tests that do not. LeaseSeconds > ModelTimeoutSeconds + 5, and InlineSeconds < the six of `slow answer`.
reprise stack up --no-ask \
    --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=2 --parameter InlineSeconds=3 \
    --parameter ConsumerConcurrency=4 --parameter RequestsPerSecond=10000 \
    --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]'

tests cargo test --locked --package tests --test runtime
tests cargo test --locked --package tests --test readme
# They wait far more than they compute.
tests cargo test --locked --package tests --test e2e -- --test-threads=8 "$@"
[ $# -eq 0 ] || exit 0
# Alone: it has the whole emulator for itself. BULK=10000 infra/checks/e2e.sh for all of it.
tests cargo test --locked --package tests --test bulk -- --nocapture
# OpenAI's own client. After the others: it leaves dead runs behind.
infra/local/install.sh sdk
tests .local/sdk-venv/bin/python -m unittest discover --start-directory tests/sdk --top-level-directory tests
# After all of them: what the functions did is what their roles allow.
tests .local/venv/bin/python infra/checks/permissions.py "$REPRISE_TEST_EMULATOR"
