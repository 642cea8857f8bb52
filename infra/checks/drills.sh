#!/bin/sh
# What an operator sees while something is wrong (tests/drills): brings up a stack of its own, `drills`, with short thresholds, runs the
# drills one after the other, and takes it down again whatever happens. Other stacks may run beside it.
#
# Ports: DRILLS_PORT, DRILLS_EMULATOR_PORT, DRILLS_MODEL_PORT, DRILLS_TRACES_PORT (and the one after it). Arguments choose drills (`infra/checks/drills.sh probes`).
set -eu

cd "$(dirname -- "$0")/../.."
for tool in bash curl jq; do
    command -v "$tool" >/dev/null || { echo "drills: $tool was not found; the manuals' lines use it (Debian: apt install curl jq)" >&2; exit 1; }
done
. infra/checks/stack.sh
tell="health agent-api queue-consumer sweeper"
stack_of "${DRILLS_STACK:-drills}" "${DRILLS_PORT:-8170}" "${DRILLS_EMULATOR_PORT:-4770}" "${DRILLS_MODEL_PORT:-4270}"

# promtool and a real Prometheus; Arize Phoenix.
sh infra/local/install.sh observe
sh infra/local/install.sh traces
# Where the traces drill starts it. Nobody is there during the others, which must not notice.
export REPRISE_TEST_TRACES="http://127.0.0.1:${DRILLS_TRACES_PORT:-4370}"

# Short times, so that what is wrong shows while a test can wait for it.
reprise stack up --no-ask \
    --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=2 --parameter InlineSeconds=3 \
    --parameter ConsumerConcurrency=4 --parameter RequestsPerSecond=10000 --parameter PageWaitSeconds=2 --parameter LessUrgentPageWaitSeconds=4 --parameter DailyBudgetUsd=1000 \
    --parameter TracesEndpoint="$REPRISE_TEST_TRACES"

# One after the other: a fault is for the whole stack. The traces first: who has found nobody to send them to for a while waits longer.
drills() { tests cargo test --locked --package tests --test drills -- --test-threads=1 "$@"; }
if [ $# -eq 0 ]; then
    drills traces::
    drills --skip traces::
else
    drills "$@"
fi
