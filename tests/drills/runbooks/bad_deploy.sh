# A bad build of one function, deployed as `make deploy` does it: the last two releases are the good one and the bad one.
#   bad_deploy.sh FUNCTION        with STACK, REPRISE_STACK, BUCKET and AWS_ENDPOINT_URL of a local stack
#   bad_deploy.sh                 back to the good one, whatever a drill has left
set -eu
stack=$STACK AWS=.local/venv/bin/aws YES=1 caller=000000000000
good=.local/stacks/$REPRISE_STACK/package/packaged.yaml bad=target/deploy/$stack-bad.yaml
fail() { echo "bad_deploy: $*" >&2 && exit 1; }
mkdir -p target/deploy
. infra/deploy/release.sh

if [ $# -eq 0 ]; then
    change_stack good "$good" "file://target/deploy/$stack.json"
    exit
fi
begun="$(date -u +%Y%m%dT%H%M%SZ)-good"
keep_release "$good"
key=$stack/bad-$1
python3 - "target/deploy/$stack-bad.zip" <<'END'
import sys, zipfile
entry = zipfile.ZipInfo("bootstrap")
entry.create_system, entry.external_attr = 3, 0o100755 << 16
with zipfile.ZipFile(sys.argv[1], "w") as zipped:
    zipped.writestr(entry, "#!/bin/sh\necho 'this build does not start' >&2\nexit 1\n")
END
"$AWS" s3api put-object --bucket "$BUCKET" --key "$key" --body "target/deploy/$stack-bad.zip" >/dev/null
# The package of this function, and of no other: it stands below the function's name.
sed "/AWS::StackName}-$1\$/{n;s|CodeUri: .*|CodeUri: s3://$BUCKET/$key|;}" "$good" >"$bad"
grep -q "CodeUri: s3://$BUCKET/$key" "$bad" || fail "there is no package of $1 in $good"
change_stack bad "$bad" "file://target/deploy/$stack.json"
keep_release "$bad"
# Whoever looks for the cause deploys the same again, and it must not become the release to go back to.
change_stack bad "$bad" "file://target/deploy/$stack.json"
keep_release "$bad"
