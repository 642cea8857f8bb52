#!/bin/sh
# Installs one group of pinned tools into .local/ of this repository; nothing global.
#
#   install.sh run     requirements.txt          -> .local/venv        (emulator, aws, boto3)
#                      package-lock.json         -> .local/node        (aimock, the offline model)
#   install.sh observe Debian's package prometheus -> .local/prometheus (promtool and the server, unpacked without root, any 2.x or 3.x)
#   install.sh <name>  requirements-<name>.txt   -> .local/<name>-venv (build: cargo-lambda; check: linters; sdk: the client of tests/sdk;
#                      traces: a receiver of traces)
#
# Idempotent: a stamp holds the hash of the lock, so a second run returns at once. Every Python
# package is checked against the hashes of the lock. PYTHON=/path/to/python3 picks the interpreter.
#
# To renew a lock (in this folder):
#   uv pip compile --universal --python-version 3.11 --generate-hashes requirements.in -o requirements.txt
#   npm install --package-lock-only --ignore-scripts
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH= cd -- "$here/../.." && pwd)
local_dir="$root/.local"
python=${PYTHON:-python3}

fail() {
    echo "install: $*" >&2
    exit 1
}

# hash_of FILE...: one hash over the files, with whichever tool the system has.
hash_of() {
    if command -v sha256sum >/dev/null 2>&1; then cat "$@" | sha256sum; else cat "$@" | shasum -a 256; fi | cut -d' ' -f1
}

# is_current DIR KEY: true when DIR was completed for exactly this KEY.
is_current() {
    [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ]
}

install_python() {
    lock=$1 venv=$2
    [ -f "$lock" ] || fail "there is no lock file $lock for this group"
    command -v "$python" >/dev/null 2>&1 || fail "$python was not found; Python 3.11 or newer is needed (or set PYTHON)"
    # The interpreter's path is part of the key: a venv breaks when its Python goes away.
    key="$(hash_of "$lock") $(command -v "$python")"
    if is_current "$venv" "$key" && [ -x "$venv/bin/python" ]; then return; fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version 2>&1) is too old; Python 3.11 or newer is needed (or set PYTHON)"
    echo "install: python tools of $(basename "$lock") into ${venv#"$root"/}"
    rm -rf "$venv"
    mkdir -p "$local_dir"
    "$python" -m venv "$venv" >"$log" 2>&1 || failed_with_log "creating $venv (is python3-venv installed?)"
    # --no-deps: the lock is complete, and pip 23 refuses extras under --require-hashes when it resolves by itself.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps \
        --only-binary :all: -r "$lock" >"$log" 2>&1 || failed_with_log "pip install -r $lock"
    echo "$key" >"$venv/.stamp"
}

install_node() {
    dir="$local_dir/node"
    key=$(hash_of "$here/package.json" "$here/package-lock.json")
    if is_current "$dir" "$key"; then return; fi
    command -v node >/dev/null 2>&1 || fail "node was not found; Node.js 20.15 or newer is needed"
    command -v npm >/dev/null 2>&1 || fail "npm was not found; it comes with Node.js 20.15 or newer"
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 15) ? 0 : 1)' ||
        fail "node $(node --version) is too old; Node.js 20.15 or newer is needed"
    echo "install: node tools into ${dir#"$root"/}"
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "$here/package.json" "$here/package-lock.json" "$dir/"
    (cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$log" 2>&1 || failed_with_log "npm ci in $dir"
    echo "$key" >"$dir/.stamp"
}

# apt checks what it fetches against the distribution's signed lists. A Prometheus that is on the PATH already is as good.
install_prometheus() {
    dir="$local_dir/prometheus"
    if [ -x "$dir/bin/promtool" ] && [ -x "$dir/bin/prometheus" ]; then return; fi
    rm -rf "$dir"
    mkdir -p "$dir/bin" "$dir/package"
    if command -v prometheus >/dev/null 2>&1 && command -v promtool >/dev/null 2>&1; then
        ln -s "$(command -v prometheus)" "$dir/bin/prometheus"
        ln -s "$(command -v promtool)" "$dir/bin/promtool"
        return
    fi
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 ||
        fail "prometheus and promtool were not found, and there is no apt to get them with: put them on the PATH (prometheus.io/download)"
    echo "install: Debian's package prometheus into ${dir#"$root"/}"
    (cd "$dir/package" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) >"$log" 2>&1 ||
        failed_with_log "apt-get download prometheus (or put prometheus and promtool on the PATH)"
    dpkg-deb -x "$dir"/package/prometheus_*.deb "$dir/package/root" >"$log" 2>&1 || failed_with_log "unpacking prometheus"
    mv "$dir/package/root/usr/bin/prometheus" "$dir/package/root/usr/bin/promtool" "$dir/bin/"
    rm -rf "$dir/package"
}

failed_with_log() {
    tail -n 20 "$log" >&2
    fail "$1 failed; the whole output is in $log"
}

group=${1:-}
case "$group" in
*[!a-z]* | "") fail "usage: install.sh run|build|check|sdk|traces|observe" ;;
esac
mkdir -p "$local_dir"
log="$local_dir/install-$group.log"
if [ "$group" = run ]; then
    install_python "$here/requirements.txt" "$local_dir/venv"
    install_node
elif [ "$group" = observe ]; then
    install_prometheus
else
    install_python "$here/requirements-$group.txt" "$local_dir/$group-venv"
fi
