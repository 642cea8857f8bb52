#!/bin/sh
# Is this machine ready for `make run`? Names everything that is missing or too old, with the version that is needed.
#
# Plain sh, because it runs before there is anything else: from the Makefile (before cargo can be called) and as the first
# phase of `reprise stack up`. One line for each tool on stdout; the problems on stderr, and then exit 1.
# PYTHON=/path/to/python3 chooses the interpreter, as in install.sh.
set -u

root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
rust_needed=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
python_needed=3.11
node_needed=20.15 # the offline model server asks for it
python=${PYTHON:-python3}
problems=0

problem() {
    echo "preflight: $*" >&2
    problems=$((problems + 1))
}

# at_least FOUND NEEDED: compares up to three numbers; a suffix (-nightly, rc1) does not count.
at_least() {
    awk -v found="$1" -v needed="$2" 'BEGIN {
        split(found, f, "."); split(needed, n, ".")
        for (i = 1; i <= 3; i++) if (f[i] + 0 != n[i] + 0) exit (f[i] + 0 < n[i] + 0)
        exit 0
    }'
}

# check NAME NEEDED FOUND HOW: FOUND is empty when the tool is missing or does not start.
check() {
    if [ -z "$3" ]; then
        problem "$1 was not found; $1 $2 or newer is needed ($4)"
    elif ! at_least "$3" "$2"; then
        problem "$1 $3 is too old; $1 $2 or newer is needed ($4)"
    else
        echo "$1 $3"
    fi
}

rust=$(rustc --version 2>/dev/null | awk '{print $2}')
check Rust "${rust_needed:-1.85}" "$rust" "https://rustup.rs, or: rustup update stable"
if [ -n "$rust" ] && ! cargo --version >/dev/null 2>&1; then
    problem "cargo was not found beside rustc (https://rustup.rs)"
fi
if ! command -v cc >/dev/null 2>&1; then
    problem "no C compiler (cc) was found; Rust links with it (Debian: apt install build-essential; macOS: xcode-select --install)"
fi

found=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null)
check Python "$python_needed" "$found" "or set PYTHON to another interpreter"
if [ -n "$found" ] && ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    problem "Python $found has no venv module (Debian: apt install python3-venv)"
fi

node=$(node --version 2>/dev/null | sed 's/^v//')
check Node "$node_needed" "$node" "https://nodejs.org"
if [ -n "$node" ] && ! command -v npm >/dev/null 2>&1; then
    problem "npm was not found; it comes with Node (Debian: apt install npm)"
fi

[ "$problems" -eq 0 ]
