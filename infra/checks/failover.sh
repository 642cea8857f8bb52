#!/bin/sh
# Two providers that fail and heal, on a stack of its own, `failover`: the deployment's chain is the offline model on MODEL_PORT
# (provider `openai`) and a second one on BACKUP_PORT (provider `backup`). tests/failover breaks and heals them.
#
# Ports: FAILOVER_PORT, FAILOVER_EMULATOR_PORT, FAILOVER_MODEL_PORT, FAILOVER_BACKUP_PORT. Arguments go to the tests.
set -eu

cd "$(dirname -- "$0")/../.."
. infra/checks/stack.sh
tell="agent-api queue-consumer"
stack_of failover "${FAILOVER_PORT:-8130}" "${FAILOVER_EMULATOR_PORT:-4696}" "${FAILOVER_MODEL_PORT:-4140}"
at_end() { [ -z "${backup:-}" ] || kill "$backup" 2>/dev/null || true; }
backup_port="${FAILOVER_BACKUP_PORT:-4141}"

# Short times, so that a hanging call is given up while one waits. A probe is not made before the provider is well again, or the
# test could not say how often the breaker opens.
breaker='{"failures":4,"percent":20,"window_seconds":60,"open_seconds":20,"longest_open_seconds":20,"probes":2}'
timeouts='{"first_token_seconds":2,"between_tokens_seconds":2}'
provider() { printf '{"name":"%s","protocol":"%s","timeouts":%s,"breaker":%s%s}' "$1" "$2" "$timeouts" "$breaker" "${3:+,\"base_url\":\"$3\"}"; }
second=http://127.0.0.1:$backup_port
providers="[$(provider openai openai),$(provider backup openai "$second/v1/"),$(provider responses openai_resp "$second/v1/")"
providers="$providers,$(provider anthropic anthropic "$second/v1/"),$(provider bedrock bedrock_sigv4 "$second/"),$(provider nova bedrock_api "$second/")]"
reprise stack up --no-ask \
    --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=6 --parameter MaxAttempts=2 --parameter InlineSeconds=10 \
    --parameter ConsumerConcurrency=4 --parameter RequestsPerSecond=10000 \
    --parameter 'Model=openai::gpt-4o-mini,backup::gpt-4o-mini' --parameter "Providers=$providers"
node infra/local/model/server.mjs --port "$backup_port" >.local/stacks/failover/log/backup.log 2>&1 &
backup=$!

export REPRISE_TEST_BACKUP="http://127.0.0.1:$backup_port"
tests cargo test --locked --package tests --test failover -- --test-threads=1 "$@"
