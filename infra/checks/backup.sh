#!/bin/sh
# The round trip of a backup over a real stack, `backup`: runs, events, a conversation, an incident, a dead run, one that waits for a
# person and one in the middle of its work; an archive of it; the stack ended with its data and brought up anew; the archive back;
# everything readable and equal; and what had not ended goes on when somebody says so.
#
# Ports: BACKUP_TEST_PORT, BACKUP_TEST_EMULATOR_PORT, BACKUP_TEST_MODEL_PORT.
set -eu

cd "$(dirname -- "$0")/../.."
. infra/checks/stack.sh
tell=operator-api
stack_of backup "${BACKUP_TEST_PORT:-8300}" "${BACKUP_TEST_EMULATOR_PORT:-4866}" "${BACKUP_TEST_MODEL_PORT:-4310}"
export REPRISE_URL="http://localhost:$PORT"
work=$(mktemp -d)
at_end() { rm -rf "$work"; }
say() { echo "backup: $*"; }
fail() { say "$*" >&2 && exit 1; }

up() {
    reprise stack up --no-ask --parameter LeaseSeconds=16 --parameter ModelTimeoutSeconds=10 --parameter MaxAttempts=2 \
        --parameter InlineSeconds=3 --parameter 'Providers=[{"name":"openai","protocol":"openai","breaker":{"failures":10000}}]'
}
provider_is_down() { curl -fsS -X POST "http://localhost:$MODEL_PORT/__aimock/chaos" -d '{"dropRate":1}' -o /dev/null; }
provider_is_up() { curl -fsS -X DELETE "http://localhost:$MODEL_PORT/__aimock/chaos" -o /dev/null; }
get() { curl -fsS "$REPRISE_URL$1"; }
# What readers see of everything, without what an answer says of the moment.
seen() {
    for path in "/v1/runs?limit=100" "/v1/history?limit=100&status=completed" "/v1/conversations/$conversation" "/v1/events/$event" \
        "/v1/runs/$run" "/v1/runs/$run/steps" "/v1/runs/$dead" "/v1/usage" "/v1/incidents/$incident"; do
        get "$path" | jq -S --arg run "$working" 'del(.next_update, .acknowledge, (.runs[]? | select(.run_id == $run)))'
    done
}
# The items of an archive, in an order of their own, but the record of the run that waits, which a restore marks, and what belongs to
# the run that is worked on while the archive is made.
items() {
    tar -xzOf "$1" items | jq -cS --arg waiting "#$waiting" --arg run "$working" --arg conversation "$worked_on" '
        select((.pk.S | endswith($waiting) | not) or .sk.S != "run")
        | select([.pk.S, .sk.S] | any(endswith($run) or endswith($conversation)) | not)' | sort
}
# Until a run is so far.
until_it_is() {
    tries=0
    until [ "$(get "/v1/runs/$1" | jq -r .status)" = "$2" ]; do
        tries=$((tries + 1)) && [ $tries -lt 240 ] || fail "the run is not $2: $(get "/v1/runs/$1")"
        sleep 0.5
    done
}

up
answer=$(curl -fsS -X POST "$REPRISE_URL/v1/agent" -H 'content-type: application/json' -d '{"prompt": "What can you do?", "metadata": {"note": "Grüße \"quoted\""}}')
run=$(printf %s "$answer" | jq -r .run_id) conversation=$(printf %s "$answer" | jq -r .conversation_id)
curl -fsS -X POST "$REPRISE_URL/v1/agent" -H 'content-type: application/json' \
    -d "{\"prompt\": \"And then?\", \"conversation_id\": \"$conversation\"}" >/dev/null
event=$(curl -fsS -X POST "$REPRISE_URL/v1/events" -H 'content-type: application/json' \
    -d '{"type": "nobody.hears", "source": "test", "payload": {"a": [1, "ü", null]}}' | jq -r .event_id)
incident=$(reprise incident open "a test" --severity P3 --format json | jq -r .incident_id)
reprise incident note "$incident" "written down before the backup" >/dev/null
n=0
while [ $n -lt 40 ]; do
    curl -fsS -X POST "$REPRISE_URL/v1/agent" -H 'content-type: application/json' -d "{\"prompt\": \"question $n\", \"background\": true}" >/dev/null
    n=$((n + 1))
done
tries=0
until [ "$(get '/v1/runs?limit=100' | jq '[.runs[] | select(.status != "completed")] | length')" -eq 0 ]; do
    tries=$((tries + 1)) && [ $tries -lt 120 ] || fail "the runs do not end: $(get '/v1/runs?limit=100' | jq -c '[.runs[].status]')"
    sleep 0.5
done

# One that has not ended: it waits for a person.
waiting=$(curl -fsS -X POST "$REPRISE_URL/v1/agent" -H 'content-type: application/json' -d '{"prompt": "ask me first", "background": true}' | jq -r .run_id)
until_it_is "$waiting" waiting

# One that has died.
provider_is_down
dead=$(curl -fsS -X POST "$REPRISE_URL/v1/agent" -H 'content-type: application/json' -d '{"prompt": "doomed", "background": true}' | jq -r .run_id)
until_it_is "$dead" dead

# One in the middle of its work: it is tried again and again while the archive is made.
accepted=$(curl -fsS -X POST "$REPRISE_URL/v1/agent" -H 'content-type: application/json' -d '{"prompt": "not yet", "background": true}')
working=$(printf %s "$accepted" | jq -r .run_id) worked_on=$(printf %s "$accepted" | jq -r .conversation_id)
reprise backup create --out "$work/one.tar.gz"
case $(get "/v1/runs/$working" | jq -r .status) in queued | running) ;; *) fail "the run has ended before the archive was made" ;; esac
seen >"$work/before.json"
reprise backup verify "$work/one.tar.gz" >/dev/null
gunzip -t "$work/one.tar.gz"
items "$work/one.tar.gz" >"$work/one.jsonl"
[ "$(wc -l <"$work/one.jsonl")" -gt 150 ] || fail "only $(wc -l <"$work/one.jsonl") items"
if reprise backup restore "$work/one.tar.gz" --yes --unfinished hold 2>"$work/refused"; then fail "a table that is not empty was written to"; fi
grep -q "not empty" "$work/refused" || fail "refused for another reason: $(cat "$work/refused")"

say "all of it is gone, and a new stack comes up"
reprise stack down
up
# A damaged archive is refused, and the table is as empty as before.
cp "$work/one.tar.gz" "$work/bad.tar.gz"
printf 'X' | dd of="$work/bad.tar.gz" bs=1 seek=2000 conv=notrunc status=none
if reprise backup restore "$work/bad.tar.gz" --yes --unfinished hold 2>/dev/null; then fail "a damaged archive was taken"; fi
[ "$(get '/v1/runs?limit=1' | jq '.runs | length')" -eq 0 ] || fail "a damaged archive has left something"
if reprise backup restore "$work/one.tar.gz" --yes 2>"$work/refused"; then fail "runs were woken unasked"; fi
grep -q "not all in this backup had ended" "$work/refused" || fail "refused for another reason: $(cat "$work/refused")"
[ "$(get '/v1/runs?limit=1' | jq '.runs | length')" -eq 0 ] || fail "a refused restore has left something"
reprise backup restore "$work/one.tar.gz" --yes --unfinished hold

seen >"$work/after.json"
diff "$work/before.json" "$work/after.json" || fail "readers see something else"
reprise backup create --out "$work/two.tar.gz" >/dev/null
items "$work/two.tar.gz" >"$work/two.jsonl"
diff "$work/one.jsonl" "$work/two.jsonl" >"$work/diff" || fail "the items differ: $(head -c 2000 "$work/diff")"
# What came back goes on: its conversation takes another turn.
again=$(curl -fsS -X POST "$REPRISE_URL/v1/agent" -H 'content-type: application/json' -d "{\"prompt\": \"Still there?\", \"conversation_id\": \"$conversation\"}")
[ "$(printf %s "$again" | jq -r .status)" = completed ] || fail "the conversation does not go on: $again"
# So does the run that waits, once it has its answer.
question=$(get "/v1/runs/$waiting" | jq -r .waiting.question_id)
curl -fsS -X POST "$REPRISE_URL/v1/runs/$waiting/answer" -H 'content-type: application/json' -d "{\"question_id\": \"$question\", \"answer\": \"yes\"}" >/dev/null
until_it_is "$waiting" completed
# The one that was worked on lies still until somebody puts it back; the dead one too, whose message is gone for good.
[ "$(get "/v1/runs/$working" | jq -r .status)" = queued ] || fail "the held run is $(get "/v1/runs/$working" | jq -r .status)"
reprise dlq retry "$working" --reason "restored" >/dev/null
until_it_is "$working" completed
reprise dlq retry-all --yes --reason "restored" >/dev/null
until_it_is "$dead" completed
reprise incident bundle "$incident" --stack backup --out "$work/bundle.tar.gz" >/dev/null
tar -tzf "$work/bundle.tar.gz" | grep -q '^errors/queue-consumer.json$' || fail "the debug bundle has no logs of the local stack"
say "$(wc -l <"$work/one.jsonl") items went out and came back, and nobody can tell the difference"
