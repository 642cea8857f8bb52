# Sourced by deploy.sh and rollback.sh: a change of the stack through a change set, and what is kept of each for the way back.
#
# A release is a packaged template (its functions' zips stay in the bucket, under the hash of their content) and all parameters, at
# s3://BUCKET/STACK/releases/<time>-<version>-<hash>.{yaml,json}; the hash is of both, so that the same thing deployed twice is known
# for the same. <time>-<version>.begun is there before anything is executed: a deploy whose end nobody saw. Uses $stack, $BUCKET,
# $AWS, $YES, $caller and fail() of whoever sources it.

releases="$stack/releases"

# change_stack VERSION TEMPLATE KEY=VALUE… | VERSION TEMPLATE file://PARAMETERS.json: shows what would change, asks, executes, waits.
# CAPABILITY_IAM: the roles. CAPABILITY_AUTO_EXPAND: the SAM transform, and the nested stacks.
change_stack() {
    version=$1 template=$2
    shift 2
    output=$("$AWS" cloudformation deploy --no-execute-changeset --no-fail-on-empty-changeset --template-file "$template" \
        --stack-name "$stack" --s3-bucket "$BUCKET" --s3-prefix "$stack" --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
        --parameter-overrides "$@") || fail "CloudFormation refused the change set of stack $stack"
    change_set=$(echo "$output" | sed -n 's/.*--change-set-name \(arn:[^ ]*\).*/\1/p')
    if [ -z "$change_set" ]; then
        begun="$(date -u +%Y%m%dT%H%M%SZ)-$version"
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
    begun="$(date -u +%Y%m%dT%H%M%SZ)-$version"
    put_release "$begun.begun" "$template"
    "$AWS" cloudformation execute-change-set --change-set-name "$change_set"
    if [ "$status" = REVIEW_IN_PROGRESS ]; then wait_for=stack-create-complete; else wait_for=stack-update-complete; fi
    "$AWS" cloudformation wait "$wait_for" --stack-name "$stack" || {
        "$AWS" cloudformation describe-stack-events --stack-name "$stack" --output table \
            --query 'StackEvents[?contains(ResourceStatus, `FAILED`)].[LogicalResourceId, ResourceStatusReason]' >&2
        fail "stack $stack was not deployed and rolled back; the reasons are above"
    }
}

# keep_release TEMPLATE: what runs now, for `make rollback`; it is the one that change_stack has just begun. What is the last one
# already is not kept twice.
keep_release() {
    "$AWS" cloudformation describe-stacks --stack-name "$stack" --output json \
        --query "sort(Stacks[0].Parameters[].join('=', [ParameterKey, ParameterValue]))" >"target/deploy/$stack.json"
    hash=$(cat "$1" "target/deploy/$stack.json" | sha256sum | cut -c 1-12)
    newest=$(list_releases) || fail "the releases of stack $stack in $BUCKET cannot be listed"
    newest=$(echo "$newest" | tail -n 1)
    if [ "${newest##*-}" = "$hash" ] && [ -z "$(unfinished)" ]; then
        echo "deploy: what runs is release $newest, as before"
        return
    fi
    put_release "$begun-$hash.json" "target/deploy/$stack.json"
    # The template last: a release is listed when all of it is there.
    put_release "$begun-$hash.yaml" "$1"
    echo "deploy: kept as release $begun-$hash"
}

put_release() {
    "$AWS" s3api put-object --bucket "$BUCKET" --key "$releases/$1" --body "$2" >/dev/null
}

# The names of what is kept, with their endings, the newest last, one a line.
list_kept() {
    kept=$("$AWS" s3api list-objects-v2 --bucket "$BUCKET" --prefix "$releases/" --query 'Contents[].Key' --output text) || return 1
    echo "$kept" | tr '\t' '\n' | sed -n "s|^$releases/||p" | sort
}

# The releases, the newest last, one a line.
list_releases() {
    kept=$(list_kept) || return 1
    echo "$kept" | sed -n 's|\.yaml$||p'
}

# A deploy that was begun after the newest release and whose end was not seen, if there is one.
unfinished() {
    kept=$(list_kept) || return 1
    echo "$kept" | awk '
        { time = $0; sub(/-.*/, "", time) }
        /\.begun$/ { begun = time; name = $0 }
        /\.yaml$/ { finished = time }
        END { if (begun > finished) { sub(/\.begun$/, "", name); print name } }'
}

# way_back <RELEASES: the release that runs and those that it can go back to, the newest last. What was deployed again without a
# change is there once, and what a rollback has left is not there any more: going back twice goes back further, not to the bad one.
way_back() {
    awk '
        { hash = $0; sub(/.*-/, "", hash) }
        /^[^-]*-back-to-/ { for (i = n; i > 0 && hashes[i] != hash; i--); if (i > 0) { n = i; next } }
        n > 0 && hashes[n] == hash { next }
        { n++; hashes[n] = hash; names[n] = $0 }
        END { for (i = 1; i <= n; i++) print names[i] }'
}

# release_before STATUS UNFINISHED <RELEASES: where a rollback goes, nothing if there is nowhere to go; STATUS is the stack's.
# A deploy whose end nobody saw runs now, unless CloudFormation has taken it back: then the newest release is the one before.
# (It may never have been executed. Then this changes nothing, which is better than to go one too far.) A rollback whose end nobody
# saw is gone through again: the newest release is what it left.
release_before() {
    case "$1 $2" in
    *_ROLLBACK_COMPLETE\ * | *\  | *-back-to-*) way_back | tail -n 2 | sed -n '1{$!p;}' ;;
    *) way_back | tail -n 1 ;;
    esac
}
