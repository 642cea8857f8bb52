"""Whether each function's role allows what the function was seen to do. The emulator enforces no permissions; this reads its request log.

    permissions.py http://127.0.0.1:4666

Every AWS call of a function that the log still knows is put beside the statements of its role in template.yaml, by action and by
resource (table, index, queue). What is not allowed is told, and the exit code is 1. What was never called is not judged.
"""

import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
# Part of the user agent that the functions send.
_FUNCTION = re.compile(r"app/([a-z-]+)")
_TRANSACT = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
# A batch needs the permission of its parts, a move task those of what it does on the caller's behalf.
_PARTS = {
    "SendMessageBatch": ["SendMessage"],
    "DeleteMessageBatch": ["DeleteMessage"],
    "ChangeMessageVisibilityBatch": ["ChangeMessageVisibility"],
    "StartMessageMoveTask": ["StartMessageMoveTask", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes"],
}
# Bodies are logged up to this length: what is longer is read by its words.
_WHOLE = 32 * 1024

Need = tuple[str, str]


class _Template(yaml.SafeLoader):
    """YAML with CloudFormation's short functions."""


def _short(loader: _Template, suffix: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        value: object = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".")
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


_Template.add_multi_constructor("!", _short)


def needs(entry: dict[str, str], queues: dict[str, str]) -> Iterator[Need]:
    """The actions of a call with the logical resource of each."""
    service, operation, text = entry["service"], entry["operation"], entry["body"]
    if service == "sqs":
        name = re.search(r'"(?:QueueUrl|SourceArn)"\s*:\s*"[^"]*[/:]([^/:"]+)"', text)
        real = name.group(1) if name else "?"
        queue = next((queues[end] for end in sorted(queues, key=len, reverse=True) if real.endswith(f"-{end}")), real)
        for part in _PARTS.get(operation, [operation]):
            yield f"sqs:{part}", queue
    elif service == "dynamodb" and operation == "TransactWriteItems":
        for part, action in _TRANSACT.items():
            if f'"{part}":{{' in text.replace(" ", ""):
                yield f"dynamodb:{action}", "Table"
    elif service == "dynamodb" and operation == "TransactGetItems":
        yield "dynamodb:GetItem", "Table"
    elif service == "dynamodb":
        index = json.loads(text).get("IndexName") if len(text) < _WHOLE else None
        yield f"dynamodb:{operation}", f"index/{index}" if index else "Table"


def allowed(role: dict) -> set[Need]:
    """What a role allows, as far as tables and queues are concerned."""
    found = set()
    for policy in role["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            statement = statement.get("Fn::If", [None, statement])[1]
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            for resource in resources:
                name = ""
                if isinstance(resource, dict) and "Fn::GetAtt" in resource:
                    name = resource["Fn::GetAtt"][0]
                elif isinstance(resource, dict) and "/index/" in str(resource.get("Fn::Sub", "")):
                    name = "index/" + resource["Fn::Sub"].rpartition("/")[2]
                found |= {(action, name) for action in actions}
    return found


def queue_names(resources: dict) -> dict[str, str]:
    """The logical name of each queue by the end of its real one, which begins with the stack's."""
    names = {}
    for logical, resource in resources.items():
        if resource["Type"] == "AWS::SQS::Queue":
            names[resource["Properties"]["QueueName"]["Fn::Sub"].partition("}-")[2]] = logical
    return names


def main(emulator: str) -> int:
    resources = yaml.load((ROOT / "template.yaml").read_text(), _Template)["Resources"]
    queues = queue_names(resources)
    with urllib.request.urlopen(f"{emulator}/__reprise/requests", timeout=60) as answer:
        log = json.load(answer)
    seen: dict[str, dict[Need, int]] = {}
    for entry in log["requests"]:
        function = _FUNCTION.search(entry["user_agent"])
        if function and entry["service"] in ("dynamodb", "sqs"):
            calls = seen.setdefault(function.group(1), {})
            for need in needs(entry, queues):
                calls[need] = calls.get(need, 0) + 1
    if not seen:
        print("the request log knows no call of any function: this check saw nothing", file=sys.stderr)
        return 2
    lacking = 0
    for function, calls in sorted(seen.items()):
        logical = "".join(part.capitalize() for part in function.split("-"))
        grants = allowed(resources[resources[logical]["Properties"]["Role"]["Fn::GetAtt"][0]])
        for (action, resource), times in sorted(calls.items()):
            if (action, resource) not in grants:
                lacking += 1
                print(f"{function} made {times} calls that need {action} on {resource}, which its role does not allow", file=sys.stderr)
        print(f"{function}: {len(calls)} kinds of calls, {sum(calls.values())} in all")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
