#!/bin/sh
# What an operator sees while something is wrong (tests/drills): brings up a stack of its own with short thresholds, runs the drills one after
# the other, and takes it down again whatever happens. Other stacks may run beside it.
#
#   infra/checks/drills.sh                 every probe under every fault, every metric, trace and alarm; on the stack `drills`
#   infra/checks/drills.sh runbooks        every runbook; on the stack `runbooks`, where a minute of CloudWatch lasts 15 s: each page waits for its alarm to go on and off
#   infra/checks/drills.sh FILTER ...      some of either: `probes`, or `runbooks::a_table`
#
# Ports: DRILLS_PORT, DRILLS_EMULATOR_PORT, DRILLS_MODEL_PORT, DRILLS_TRACES_PORT (and the one after it).
set -eu

cd "$(dirname -- "$0")/../.."
for tool in bash curl jq; do
    command -v "$tool" >/dev/null || { echo "drills: $tool was not found; the manuals' lines use it (Debian: apt install curl jq)" >&2; exit 1; }
done
. infra/checks/stack.sh
tell="health agent-api queue-consumer sweeper"
# Short times, so that what is wrong shows while a test can wait for it.
short="LeaseSeconds=16 ModelTimeoutSeconds=10 MaxAttempts=2 InlineSeconds=3 ConsumerConcurrency=4 RequestsPerSecond=10000
    PageWaitSeconds=2 LessUrgentPageWaitSeconds=4 DailyBudgetUsd=1000"
# One after the other: a fault is for the whole stack.
drills() { tests cargo test --locked --package tests --test drills -- --test-threads=1 "$@"; }
up() { reprise stack up --no-ask $(printf -- '--parameter %s ' $short "$@"); }

case ${1:-} in
runbooks*)
    stack_of "${DRILLS_STACK:-runbooks}" "${DRILLS_PORT:-8180}" "${DRILLS_EMULATOR_PORT:-4780}" "${DRILLS_MODEL_PORT:-4280}"
    export EMULATOR_MINUTE_SECONDS=15
    up
    drills "$@"
    ;;
*)
    stack_of "${DRILLS_STACK:-drills}" "${DRILLS_PORT:-8170}" "${DRILLS_EMULATOR_PORT:-4770}" "${DRILLS_MODEL_PORT:-4270}"
    # promtool and a real Prometheus; Arize Phoenix.
    sh infra/local/install.sh observe
    sh infra/local/install.sh traces
    # Where the traces drill starts it. Nobody is there during the others, which must not notice.
    export REPRISE_TEST_TRACES="http://127.0.0.1:${DRILLS_TRACES_PORT:-4370}"
    # The drills' own requests and runs are little traffic for burn rates.
    up TracesEndpoint="$REPRISE_TEST_TRACES" BurnMinRequests=400
    if [ $# -eq 0 ]; then
        # The traces first: who has found nobody to send them to for a while waits longer.
        drills traces::
        drills --skip traces:: --skip runbooks::
    else
        drills "$@"
    fi
    ;;
esac
