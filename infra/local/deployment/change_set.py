"""Creates and executes a CloudFormation change set, with bounded waits and the cause of a failure.

A change set rather than create-stack or update-stack: it is the only way to deploy a SAM template, it says
whether anything changed at all, and it is what goes to AWS.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from deployment import DeployError
from deployment.target import Target

# CloudFormation's limit for a template in the request; a larger one is read from S3.
_INLINE_TEMPLATE_BYTES = 51_200
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
# The emulator changes a whole stack in about a second.
_PAUSE_SECONDS = 0.05
_NOTHING_TO_DO = ("didn't contain changes", "no updates are to be performed")

Say = Callable[[str], None]


class StackDeploy:
    """One deploy of one stack."""

    def __init__(self, target: Target, stack_name: str, timeout_seconds: int, say: Say) -> None:
        self._target = target
        self._name = stack_name
        self._deadline = time.monotonic() + timeout_seconds
        self._say = say
        self._api = target.client("cloudformation")

    def run(self, template: Path, parameters: dict[str, str]) -> bool:
        """Bring the stack to `template`; False when there was nothing to change."""
        stack = self._stack()
        if stack and stack["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
            self._remove_failed_first_deploy(stack["StackStatus"])
            stack = None
        is_new = stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS"
        change_set = self._create(template, parameters, "CREATE" if is_new else "UPDATE")
        if change_set is None:
            return False
        known = {event["EventId"] for event in self._events(self._name)}
        self._api.execute_change_set(ChangeSetName=change_set)
        self._wait_for_stack(known)
        return True

    def outputs(self) -> dict[str, str]:
        """The outputs of the stack as it is now."""
        stack = self._stack()
        if stack is None:
            raise DeployError(f"the stack {self._name} is gone")
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def _create(self, template: Path, parameters: dict[str, str], kind: str) -> str | None:
        made = self._api.create_change_set(
            StackName=self._name,
            ChangeSetName=f"deploy-{uuid.uuid4().hex[:12]}",
            ChangeSetType=kind,
            Capabilities=_CAPABILITIES,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            **self._template_argument(template),
        )
        change_set = made["Id"]
        while True:
            seen = self._api.describe_change_set(ChangeSetName=change_set)
            if seen["Status"] == "CREATE_COMPLETE":
                self._say(f"change set: {len(seen['Changes'])} changes")
                return change_set
            if seen["Status"] == "FAILED":
                reason = seen.get("StatusReason", "no reason given")
                self._api.delete_change_set(ChangeSetName=change_set)
                if any(text in reason.lower() for text in _NOTHING_TO_DO):
                    return None
                raise DeployError(f"the change set of {self._name} failed: {reason}")
            self._sleep(f"the change set of {self._name}", seen["Status"])

    def _template_argument(self, template: Path) -> dict[str, str]:
        body = template.read_text(encoding="utf-8")
        if len(body.encode()) <= _INLINE_TEMPLATE_BYTES:
            return {"TemplateBody": body}
        key = f"{self._name}/template.yaml"
        self._target.client("s3").put_object(Bucket=self._target.bucket, Key=key, Body=body.encode())
        return {"TemplateURL": f"{self._target.endpoint_url}/{self._target.bucket}/{key}"}

    def _wait_for_stack(self, known_events: set[str]) -> None:
        while True:
            stack = self._stack()
            status = stack["StackStatus"] if stack else "DELETED"
            if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
                return
            if not status.endswith("_IN_PROGRESS"):
                causes = "\n".join(f"  {line}" for line in self._failures(known_events))
                raise DeployError(f"the stack {self._name} ended as {status}:\n{causes or '  no event gives a reason'}")
            self._sleep(f"the stack {self._name}", status)

    def _failures(self, known_events: set[str]) -> Iterator[str]:
        """What failed in this deploy, oldest first, nested stacks with their own resources."""
        for event in reversed(self._events(self._name)):
            if event["EventId"] in known_events or not event["ResourceStatus"].endswith("_FAILED"):
                continue
            yield _line(event)
            nested = event.get("PhysicalResourceId", "")
            if event["ResourceType"] == "AWS::CloudFormation::Stack" and nested and nested != event["StackId"]:
                for inner in reversed(self._events(nested)):
                    if inner["ResourceStatus"].endswith("_FAILED"):
                        yield "  " + _line(inner)

    def _events(self, stack: str) -> list[dict[str, Any]]:
        """All events of a stack, newest first; none for a stack that never began."""
        try:
            pages = self._api.get_paginator("describe_stack_events").paginate(StackName=stack)
            return [event for page in pages for event in page["StackEvents"]]
        except ClientError:
            return []

    def _remove_failed_first_deploy(self, status: str) -> None:
        self._say(f"removing {self._name}, whose first deploy failed ({status})")
        self._api.delete_stack(StackName=self._name)
        while (stack := self._stack()) is not None:
            if stack["StackStatus"] == "DELETE_FAILED":
                raise DeployError(f"{self._name} could not be deleted")
            self._sleep(f"the deletion of {self._name}", stack["StackStatus"])

    def _stack(self) -> dict[str, Any] | None:
        try:
            return self._api.describe_stacks(StackName=self._name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise

    def _sleep(self, what: str, status: str) -> None:
        if time.monotonic() > self._deadline:
            raise DeployError(f"{what} took too long; it is still {status}")
        time.sleep(_PAUSE_SECONDS)


def _line(event: dict[str, Any]) -> str:
    reason = event.get("ResourceStatusReason", "no reason given")
    return f"{event['LogicalResourceId']} ({event['ResourceType']}) {event['ResourceStatus']}: {reason}"
