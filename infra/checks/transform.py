"""Runs the SAM transform as CloudFormation would, and says who may call which route afterwards.

The template leaves the authorizer to a parameter, so only the transform's output shows whether a route is open. Usage:
    transform.py template.yaml [KEY=VALUE ...]     with overrides: print the transformed template
    transform.py template.yaml                     check the defaults and the local stack; exit 1 if either is wrong
"""

import json
import logging
import os
import sys

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# Probes of load balancers and people cannot sign requests.
OPEN_BY_DEFAULT = {"GET /health", "GET /healthz", "GET /live"}
LOCAL = {"Local": "true", "ApiAuth": "NONE"}


def transformed(path, parameters):
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    for resource in template["Resources"].values():
        # The transform wants what `aws cloudformation package` would have written here.
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return Translator({}, Parser()).translate(template, dict(parameters))


def open_routes(template):
    """The routes of every API in a transformed template, as (all, callable by anybody)."""
    every, unguarded = set(), set()
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::ApiGateway::RestApi":
            continue
        for path, methods in resource["Properties"]["Body"]["paths"].items():
            for verb, method in methods.items():
                route = f"{verb.upper()} {path}"
                every.add(route)
                if not any("AWS_IAM" in scheme for scheme in method.get("security", [])):
                    unguarded.add(route)
    return every, unguarded


def check(path):
    problems = []
    every, unguarded = open_routes(transformed(path, {}))
    if unguarded != OPEN_BY_DEFAULT:
        problems.append(f"by default these routes need no signature: {sorted(unguarded)}, expected {sorted(OPEN_BY_DEFAULT)}")
    local_every, local_unguarded = open_routes(transformed(path, LOCAL))
    if local_unguarded != local_every or local_every != every:
        problems.append(f"with ApiAuth=NONE these routes still want a signature: {sorted(local_every - local_unguarded)}")
    for problem in problems:
        print(f"transform: {problem}", file=sys.stderr)
    if not problems:
        print(f"transform: {len(every)} routes, {len(every) - len(unguarded)} of them behind IAM by default, none locally")
    return 1 if problems else 0


def main(arguments):
    logging.disable(logging.WARNING)
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    path, *overrides = arguments
    try:
        if not overrides:
            return check(path)
        json.dump(transformed(path, (item.split("=", 1) for item in overrides)), sys.stdout, indent=2)
    except InvalidDocumentException as error:
        for cause in error.causes:
            print(f"transform: {cause.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
