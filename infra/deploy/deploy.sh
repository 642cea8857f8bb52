#!/bin/sh
# Deploys template.yaml to AWS through a change set: check, package, show what would change, ask, execute, show outputs.
#
#   BUCKET=my-artifacts make deploy      an S3 bucket of yours in the target region, for the zips and nested templates
#   DRY_RUN=1 make deploy                everything that needs no account: lint, transform, package layout
#   BUCKET=my-artifacts make rollback    back to the release before (rollback.sh): what was deployed is kept in the bucket
#
# STACK (reprise), PARAMETERS (infra/deploy/parameters, if it is there), YES=1 (do not ask), AWS (the aws command;
# default the pinned one of infra/local). Account and region come from the usual AWS variables and profiles.
set -eu

cd "$(dirname -- "$0")/../.."
stack=${STACK:-reprise}
parameters=${PARAMETERS:-infra/deploy/parameters}
packaged=target/deploy/$stack.yaml

fail() {
    echo "deploy: $*" >&2
    exit 1
}

echo "deploy: templates"
infra/checks/templates.sh
echo "deploy: package"
layout=$(python3 infra/deploy/check_package.py ${ARCH:+--arch "$ARCH"}) || fail "the package is not fit to deploy; see above"
echo "$layout" | sed '$d'
set -- "Architecture=$(echo "$layout" | tail -n 1)"
if [ -f "$parameters" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '' | '#'*) ;;
        Architecture=*) fail "$parameters: Architecture is read off the build; leave it out" ;;
        *=*) set -- "$@" "$line" ;;
        *) fail "$parameters: not KEY=VALUE: $line" ;;
        esac
    done <"$parameters"
elif [ -n "${PARAMETERS:-}" ]; then
    fail "there is no file $parameters"
fi
echo "deploy: parameters: $*"
if [ "${DRY_RUN:-}" = 1 ]; then
    echo "deploy: dry run, nothing was sent"
    exit
fi

[ -n "${BUCKET:-}" ] || fail "BUCKET is not set: name an S3 bucket in the target region for the zips (or DRY_RUN=1)"
if [ -z "${AWS:-}" ]; then
    infra/local/install.sh run
    AWS=.local/venv/bin/aws
fi
. infra/deploy/release.sh
caller=$("$AWS" sts get-caller-identity --query Account --output text) || fail "no usable AWS credentials"
mkdir -p target/deploy
"$AWS" cloudformation package --template-file template.yaml --s3-bucket "$BUCKET" --s3-prefix "$stack" \
    --output-template-file "$packaged" >/dev/null
change_stack "$(git describe --always --dirty 2>/dev/null || echo unknown)" "$packaged" "$@"
keep_release "$packaged"
"$AWS" cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' --output table
