#!/bin/sh
# Deploys template.yaml to AWS through a change set: check, package, show what would change, ask, execute, show outputs.
#
#   BUCKET=my-artifacts make deploy      an S3 bucket of yours in the target region, for the zips and nested templates
#   DRY_RUN=1 make deploy                everything that needs no account: lint, transform, package layout
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
caller=$("$AWS" sts get-caller-identity --query Account --output text) || fail "no usable AWS credentials"
mkdir -p target/deploy
"$AWS" cloudformation package --template-file template.yaml --s3-bucket "$BUCKET" --s3-prefix "$stack" \
    --output-template-file "$packaged" >/dev/null
# CAPABILITY_IAM: the roles. CAPABILITY_AUTO_EXPAND: the SAM transform, and the nested stacks.
output=$("$AWS" cloudformation deploy --no-execute-changeset --no-fail-on-empty-changeset --template-file "$packaged" \
    --stack-name "$stack" --s3-bucket "$BUCKET" --s3-prefix "$stack" --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
    --parameter-overrides "$@") || fail "CloudFormation refused the change set of stack $stack"
change_set=$(echo "$output" | sed -n 's/.*--change-set-name \(arn:[^ ]*\).*/\1/p')
if [ -z "$change_set" ]; then
    echo "deploy: nothing changes in stack $stack of account $caller"
else
    "$AWS" cloudformation describe-change-set --change-set-name "$change_set" --output table \
        --query 'Changes[].ResourceChange.{Action: Action, Replacement: Replacement, Id: LogicalResourceId, Type: ResourceType}'
    if [ "${YES:-}" != 1 ]; then
        printf 'deploy: execute this on stack %s of account %s? [y/N] ' "$stack" "$caller"
        read -r answer || answer=n
        [ "$answer" = y ] || fail "not executed; the change set is still there: $change_set"
    fi
    # A stack that never existed is in REVIEW_IN_PROGRESS until its first change set runs.
    status=$("$AWS" cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' --output text)
    "$AWS" cloudformation execute-change-set --change-set-name "$change_set"
    if [ "$status" = REVIEW_IN_PROGRESS ]; then wait_for=stack-create-complete; else wait_for=stack-update-complete; fi
    "$AWS" cloudformation wait "$wait_for" --stack-name "$stack" || {
        "$AWS" cloudformation describe-stack-events --stack-name "$stack" --output table \
            --query 'StackEvents[?contains(ResourceStatus, `FAILED`)].[LogicalResourceId, ResourceStatusReason]' >&2
        fail "stack $stack was not deployed and rolled back; the reasons are above"
    }
fi
"$AWS" cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' --output table
