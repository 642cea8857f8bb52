#!/bin/sh
# The fault harness (tests/chaos): brings up a stack of its own, `chaos`, lets things fail on it by a seed, prints one table of what
# became of every run, and takes it down again whatever happens. Exits with 1 when a promise was broken. May run beside other stacks.
#
# N (number of faults), SEED; KINDS (e.g. `kill_consumer,lost_reply`; all if unset); REPORT (a file for the table).
# Ports: CHAOS_PORT, CHAOS_EMULATOR_PORT, CHAOS_MODEL_PORT.
set -eu

cd "$(dirname -- "$0")/../.."
. infra/checks/stack.sh
stack_of chaos "${CHAOS_PORT:-8200}" "${CHAOS_EMULATOR_PORT:-4766}" "${CHAOS_MODEL_PORT:-4210}"
lease=10
cases=.local/stacks/chaos/cases

at_end() {
    [ "$1" -ne 0 ] || return 0
    # What explains a broken promise, by the id of its run.
    for function in agent-api queue-consumer dlq-redrive operator-api sweeper; do
        reprise stack logs "$function" --tail 10000 >"$logs/$function.log" 2>&1 || true
    done
    echo "the logs of the functions, the emulator and the model are in $logs, the runs with a broken promise in $cases" >&2
}

# Before the stack comes up: it is not to wait for a compiler.
cargo build --quiet --locked --package tests --bin chaos
# Short times, so that leases end and hanging calls time out while one waits; few workers, so that batches are real; attempts as on AWS; no
# breaker, because the judge wants to see every fault strike.
# LeaseSeconds > ModelTimeoutSeconds + 5.
reprise stack up --no-ask \
    --parameter LeaseSeconds=$lease --parameter ModelTimeoutSeconds=4 --parameter MaxAttempts=4 --parameter InlineSeconds=3 \
    --parameter ConsumerConcurrency=4 --parameter RequestsPerSecond=10000 \
    --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]' >&2

# Another stack on these ports would have answered in its place, and this one has nothing to be judged by.
pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' .local/stacks/chaos/run/emulator.pid)
kill -0 "$pid" || { echo "the emulator of this stack is gone; is another one on port $EMULATOR_PORT?" >&2; exit 1; }

rm -rf "$cases"
mkdir -p "$cases"
cargo run --quiet --locked --package tests --bin chaos -- --seed "${SEED:-1}" --faults "${N:-60}" --lease $lease --cases "$cases" \
    ${KINDS:+--kinds "$KINDS"} ${REPORT:+--report "$REPORT"}
