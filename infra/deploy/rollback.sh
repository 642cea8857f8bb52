#!/bin/sh
# The way back from a bad deploy: an earlier release of the stack, its code and its parameters, through a change set as any deploy.
#
#   BUCKET=my-artifacts make rollback                    to the release before the one that runs; again: to the one before that
#   BUCKET=my-artifacts RELEASE=… make rollback          to that one
#   BUCKET=my-artifacts LIST=1 make rollback             which there are, the newest last, and where it goes
#
# STACK (reprise), YES=1 (do not ask), AWS (the aws command; default the pinned one of infra/local). It needs no build and no
# checkout of the old version. Data stays as it is: the table is never rolled back.
set -eu

cd "$(dirname -- "$0")/../.."
stack=${STACK:-reprise}

fail() {
    echo "rollback: $*" >&2
    exit 1
}

[ -n "${BUCKET:-}" ] || fail "BUCKET is not set: name the S3 bucket that the deploys went through"
if [ -z "${AWS:-}" ]; then
    infra/local/install.sh run
    AWS=.local/venv/bin/aws
fi
. infra/deploy/release.sh
found=$(list_releases) || fail "the releases of stack $stack in $BUCKET cannot be listed"
[ -n "$found" ] || fail "there is no release of stack $stack in $BUCKET: none was deployed with make deploy"
status=$("$AWS" cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' --output text)
unseen=$(unfinished)
before=$(echo "$found" | release_before "$status" "$unseen")
if [ "${LIST:-}" = 1 ]; then
    echo "$found"
    if [ -n "$unseen" ]; then echo "begun, its end was not seen: $unseen; the stack is $status"; fi
    echo "make rollback goes to: ${before:-nowhere, there is none before the one that runs}"
    exit
fi
case $status in
*_IN_PROGRESS) fail "stack $stack is $status: wait until it is done, or stop it (aws cloudformation cancel-update-stack)" ;;
esac
release=${RELEASE:-$before}
[ -n "$release" ] || fail "there is no release before the one that runs that was not left by a rollback; choose with RELEASE=… of: $(echo $found)"
echo "$found" | grep -qxF "$release" || fail "there is no release $release; LIST=1 shows those that there are"

caller=$("$AWS" sts get-caller-identity --query Account --output text) || fail "no usable AWS credentials"
mkdir -p target/deploy
template=target/deploy/$stack-rollback.yaml parameters=target/deploy/$stack-rollback.json
"$AWS" s3api get-object --bucket "$BUCKET" --key "$releases/$release.yaml" "$template" >/dev/null
"$AWS" s3api get-object --bucket "$BUCKET" --key "$releases/$release.json" "$parameters" >/dev/null
echo "rollback: stack $stack to release $release"
# From now on this is what runs, and what it left is bad. Its name says what it is.
was=${release#*-}
was=${was%-*}
change_stack "back-to-${was#back-to-}" "$template" "file://$parameters"
keep_release "$template"
