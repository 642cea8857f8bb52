# Sourced by deploy.sh and rollback.sh: a change of the stack through a change set, and what is kept of each for the way back.
#
# A release is a packaged template (its functions' zips stay in the bucket, under the hash of their content) and all parameters, at
# s3://BUCKET/STACK/releases/<time>-<version>.{yaml,json}. Uses $stack, $BUCKET, $AWS, $YES and fail() of whoever sources it.

releases="$stack/releases"

# change_stack TEMPLATE KEY=VALUE… | TEMPLATE file://PARAMETERS.json: shows what would change, asks, executes, waits.
# CAPABILITY_IAM: the roles. CAPABILITY_AUTO_EXPAND: the SAM transform, and the nested stacks.
change_stack() {
    template=$1
    shift
    output=$("$AWS" cloudformation deploy --no-execute-changeset --no-fail-on-empty-changeset --template-file "$template" \
        --stack-name "$stack" --s3-bucket "$BUCKET" --s3-prefix "$stack" --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
        --parameter-overrides "$@") || fail "CloudFormation refused the change set of stack $stack"
    change_set=$(echo "$output" | sed -n 's/.*--change-set-name \(arn:[^ ]*\).*/\1/p')
    if [ -z "$change_set" ]; then
        echo "deploy: nothing changes in stack $stack of account $caller"
        return
    fi
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
}

# keep_release TEMPLATE VERSION: what runs now, for `make rollback`.
keep_release() {
    release="$(date -u +%Y%m%dT%H%M%SZ)-$2"
    "$AWS" cloudformation describe-stacks --stack-name "$stack" --output json \
        --query "Stacks[0].Parameters[].join('=', [ParameterKey, ParameterValue])" >"target/deploy/$stack.json"
    "$AWS" s3api put-object --bucket "$BUCKET" --key "$releases/$release.json" --body "target/deploy/$stack.json" >/dev/null
    # The template last: a release is listed when all of it is there.
    "$AWS" s3api put-object --bucket "$BUCKET" --key "$releases/$release.yaml" --body "$1" >/dev/null
    echo "deploy: kept as release $release"
}

# The releases, the newest last, one a line.
list_releases() {
    "$AWS" s3api list-objects-v2 --bucket "$BUCKET" --prefix "$releases/" --query 'Contents[].Key' --output text |
        tr '\t' '\n' | sed -n "s|^$releases/\(.*\)\.yaml\$|\1|p" | sort
}
