#!/bin/sh
# The terminal session in README.md, on a stack of its own, `tour`: records it (`make tour`), or with --check compares it.
#
# Ports: TOUR_PORT, TOUR_EMULATOR_PORT, TOUR_MODEL_PORT.
set -eu

cd "$(dirname -- "$0")/../.."
. infra/checks/stack.sh
stack_of tour "${TOUR_PORT:-8190}" "${TOUR_EMULATOR_PORT:-4756}" "${TOUR_MODEL_PORT:-4200}"

# One attempt, so that a run dies while one watches; no breaker, under which it would wait for the provider instead of dying.
reprise stack up --no-ask --parameter MaxAttempts=1 --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]'
python3 infra/checks/tour.py "$@"
