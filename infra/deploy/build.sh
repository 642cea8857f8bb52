#!/bin/sh
# Builds the functions for AWS: target/lambda/<function>/bootstrap.zip. ARCH=arm64 (default) or x86_64.
# PROFILE=release (default); PROFILE=dev or local builds much faster, to try the packaging.
#
# A release is built one package at a time: cargo unites the features of everything it builds together, and with --workspace the
# smallest function came out 30 % larger. Otherwise all at once: each package alone compiles most dependencies anew, with its own
# features. Zig links against an old glibc, so the result runs on provided.al2023 whatever this is.
set -eu

cd "$(dirname -- "$0")/../.."
arch=${ARCH:-arm64}
case $arch in
arm64) target=aarch64-unknown-linux-gnu flag=--arm64 ;;
x86_64) target=x86_64-unknown-linux-gnu flag=--x86-64 ;;
*) echo "build: ARCH=$arch is not known; it is arm64 or x86_64" >&2 && exit 1 ;;
esac

if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    cat >&2 <<MESSAGE
build: this Rust has no standard library for $target, which ARCH=$arch needs. Either
         rustup target add $target
       or, where Rust is not from rustup or rustup cannot reach its server, build for the other architecture:
         ARCH=x86_64 make build        (make deploy then sets the template's Architecture to match)
MESSAGE
    exit 1
fi

infra/local/install.sh build
# The venv first on PATH: cargo-lambda looks there for the python that has zig.
PATH=$PWD/.local/build-venv/bin:$PATH
export PATH

profile=${PROFILE:-release}
build() {
    echo "build: $* for $arch"
    for function; do
        set -- "$@" --package "$function"
        shift
    done
    cargo lambda build --profile "$profile" --locked "$flag" --output-format zip "$@"
}
functions=$(cd functions && echo *)
if [ "$profile" = release ]; then
    for function in $functions; do build "$function"; done
else
    # shellcheck disable=SC2086 # a word is a function
    build $functions
fi
# The definitions go beside `bootstrap`: a function compares them with their sources before it starts (REQUIRE_COMPILED).
cargo run --quiet --locked --bin reprise -- agents compile --out target/agents
python3 infra/deploy/pack_agents.py
python3 infra/deploy/check_package.py --arch "$arch"
