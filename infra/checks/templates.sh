#!/bin/sh
# Lints template.yaml and the nested templates under infra/, and runs the SAM transform. No account, no network.
#
# Also reads the Grafana dashboard (dashboard.py).
#
# cfn-lint knows the resource schemas; `sam validate --lint` what SAM itself refuses; transform.py what comes out of
# the transform, with the defaults and with the parameters of the local stack.
set -eu

cd "$(dirname -- "$0")/../.."
infra/local/install.sh check
bin=.local/check-venv/bin

# Dummy keys: sam wants some, and calls nobody.
export AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none
export AWS_EC2_METADATA_DISABLED=true SAM_CLI_TELEMETRY=0 AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

# Every warning counts; a rule that must be broken is named in the template's Metadata, beside its reason.
"$bin/cfn-lint" --non-zero-exit-code informational --regions us-east-1 --template template.yaml infra/*.yaml
"$bin/sam" validate --lint --template template.yaml --region us-east-1
"$bin/python" infra/checks/transform.py template.yaml
# The Grafana dashboard, by the types of its maker.
"$bin/python" infra/checks/dashboard.py
