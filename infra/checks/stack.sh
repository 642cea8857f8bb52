# Sourced by the checks that have a stack of their own. Not run by itself.
#
#   stack_of NAME PORT EMULATOR_PORT MODEL_PORT   from here on the stack NAME is this script's, on these ports; it is taken down however the script ends
#   tell="FUNCTION ..."                           whose last lines are printed when the script fails
#   at_end() { ...; }                             what else is to be done then; it gets the script's exit code
#   tests COMMAND ...                             runs it; what it said of failed tests is repeated at the very end, where a shortened log still has it
#
# Several may run at the same time: each has its own ports.

reprise() { cargo run --quiet --locked --bin reprise -- "$@"; }
at_end() { :; }
tell=

stack_of() {
    export REPRISE_STACK="$1" PORT="$2" EMULATOR_PORT="$3" MODEL_PORT="$4"
    export REPRISE_TEST_URL="http://localhost:$2" REPRISE_TEST_EMULATOR="http://127.0.0.1:$3" REPRISE_TEST_MODEL="http://127.0.0.1:$4"
    # Checks know what the offline model answers, whatever the user has set for `make run`.
    unset OPENAI_API_KEY ANTHROPIC_API_KEY MODEL MODEL_BASE_URL MODEL_API_KEY REPRISE_PROFILE REPRISE_URL LOG_JSON EMULATOR_MINUTE_SECONDS 2>/dev/null || true
    logs=".local/stacks/$1/log"
    said=$(mktemp)
    # What an interrupted run has left behind.
    reprise stack down >/dev/null 2>&1 || true
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

finish() {
    code=$?
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        for function in $tell; do
            echo "--- the last lines of $function"
            reprise stack logs "$function" --tail 25 || true
        done
        for log in "$logs"/emulator.log "$logs"/model.log; do
            [ -z "$tell" ] || [ ! -f "$log" ] || { echo "--- the last lines of $log" && tail -n 25 "$log"; }
        done
    fi
    at_end "$code"
    reprise stack down >&2 || [ "$code" -ne 0 ] || code=1
    if [ "$code" -ne 0 ] && [ -s "$said" ]; then
        echo "--- what failed"
        grep -A 6 -E "panicked at|^(FAIL|ERROR):|^error|Error: " "$said" | cut -c1-2000 | tail -n 60 || true
    fi
    rm -f "$said"
    exit "$code"
}

tests() {
    { { "$@" 2>&1 || echo "exit $?" >"$said.code"; } | tee -a "$said"; }
    if [ -f "$said.code" ]; then
        rm -f "$said.code"
        return 1
    fi
}
