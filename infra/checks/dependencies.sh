#!/bin/sh
# Judges the crates of Cargo.lock by .deny.toml: licences, bans, sources, yanked releases, known vulnerabilities.
#
# All but the last work offline. Vulnerabilities come from the RustSec database, a git repository; where its host cannot
# be reached the script uses the copy of an earlier run, and where there is none it says so at the end, loudly.
# ADVISORIES=required makes that an error (for a CI that has the network).
set -eu

cd "$(dirname -- "$0")/../.."
version=0.20.2
root=$PWD/.local/cargo
deny=$root/bin/cargo-deny
database=https://github.com/RustSec/advisory-db
databases=$PWD/.local/advisory-dbs
clone=$databases/advisory-db-3157b0e258782691 # the folder cargo-deny makes of the URL above

if [ "$("$deny" --version 2>/dev/null || true)" != "cargo-deny $version" ]; then
    echo "dependencies: building cargo-deny $version into .local/cargo (once, one to two minutes)"
    # Unoptimised: that builds in well under half the time, and a check still takes two seconds.
    CARGO_TARGET_DIR="$root/target" CARGO_PROFILE_DEV_DEBUG=0 \
        cargo install --debug --quiet --locked --root "$root" --version "$version" --no-default-features cargo-deny
    rm -rf "$root/target"
fi

# cargo-deny takes the place of its database from the configuration only, as an absolute path.
config=$PWD/.local/deny.toml
configure() { awk -v path="$1" '{ print } $0 == "[advisories]" { printf "db-path = \"%s\"\n", path }' .deny.toml >"$config"; }
configure "$databases"

# The lock file names crates of platforms that nothing here is built for, and cargo-deny wants to see them too.
cargo fetch --locked --quiet || echo "dependencies: some crates could not be fetched; going on with what is here"

"$deny" --locked --offline --config "$config" check licenses bans sources

# GIT_TERMINAL_PROMPT: a proxy that asks for a password means "cannot be reached" too.
limit=$(command -v timeout || command -v gtimeout || true) # macOS has neither by itself
if GIT_TERMINAL_PROMPT=0 ${limit:+"$limit" 10} git ls-remote --quiet --exit-code "$database" HEAD >/dev/null 2>&1; then
    "$deny" --locked --config "$config" check advisories
    exit
fi
if [ -d "$clone/crates" ]; then
    "$deny" --locked --offline --config "$config" check advisories
    echo "dependencies: $database cannot be reached; checked against the copy of $(git -C "$clone" log -1 --format=%cs)"
    exit
fi

# The yanked check belongs to the advisories check, which refuses an empty database: give it one about no crate of ours.
empty=$PWD/.local/no-advisories/$(basename "$clone")
rm -rf "$empty" && mkdir -p "$empty/crates/nothing"
cat >"$empty/crates/nothing/RUSTSEC-2000-0000.md" <<'ADVISORY'
```toml
[advisory]
id = "RUSTSEC-2000-0000"
package = "nothing"
date = "2000-01-01"
[versions]
patched = []
```

# Stands in for a database that cannot be reached
ADVISORY
(
    cd "$empty"
    git init --quiet --initial-branch=main .
    git add .
    git -c user.name=reprise -c user.email=reprise@localhost -c commit.gpgsign=false commit --quiet --no-verify --message placeholder
    printf "%s\t\tbranch 'main' of %s\n" "$(git rev-parse HEAD)" "$database" >.git/FETCH_HEAD
)
configure "$(dirname "$empty")"
"$deny" --locked --offline --config "$config" check advisories >/dev/null 2>"$PWD/.local/yanked.log" || {
    cat "$PWD/.local/yanked.log" >&2
    exit 1
}
echo "dependencies: no yanked release (as of cargo's copy of the index)"
echo "dependencies: KNOWN VULNERABILITIES WERE NOT CHECKED: $database cannot be reached from here"
[ "${ADVISORIES:-}" != required ]
