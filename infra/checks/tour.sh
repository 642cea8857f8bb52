#!/bin/sh
# The terminal session in README.md, on a stack of its own, `tour`: records it (`make tour`), or with --check compares it.
#
# Ports: TOUR_PORT, TOUR_EMULATOR_PORT, TOUR_MODEL_PORT.
set -eu

cd "$(dirname -- "$0")/../.."
export PORT="${TOUR_PORT:-8190}" EMULATOR_PORT="${TOUR_EMULATOR_PORT:-4756}" MODEL_PORT="${TOUR_MODEL_PORT:-4200}"
export REPRISE_STACK=tour
unset OPENAI_API_KEY ANTHROPIC_API_KEY MODEL MODEL_BASE_URL MODEL_API_KEY REPRISE_PROFILE 2>/dev/null || true
reprise() { cargo run --quiet --locked --bin reprise -- "$@"; }

finish() {
    code=$?
    trap - EXIT
    reprise stack down || [ "$code" -ne 0 ] || code=1
    exit "$code"
}

# What an interrupted run has left behind.
reprise stack down >/dev/null 2>&1 || true
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# One attempt, so that a run dies while one watches; no breaker, under which it would wait for the provider instead of dying.
reprise stack up --no-ask --parameter MaxAttempts=1 --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]'
python3 infra/checks/tour.py "$@"
